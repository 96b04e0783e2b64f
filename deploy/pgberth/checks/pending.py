"""What only a recycle would change, and what else a run notes about a tenant."""

from __future__ import annotations

from typing import Any

from pyinfra import host, state

from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.desired import spec_or_none
from pgberth.container.spec import ContainerSpec
from pgberth.container.state import TenantState
from pgberth.database.settings import OURS, desired_settings, setting_drift
from pgberth.migrations.operations import waiting
from pgberth.model import layout
from pgberth.model.listen import described


@guarded_operation()
def record_pending(context: TenantContext) -> Commands:
    """What the run observed is in its receipt; never a change."""
    yield from ()
    if not state.is_executing or not context.observe().ready:
        return
    receipt, server, desired = context.receipt, context.observe().server, spec_or_none(context)
    if desired is not None:
        receipt.pending = pending(context.observe(), desired)
    if server is not None:
        record_observation(context)
        receipt.notes += waiting(context.tenant, server)
    receipt.notes += volumes_beside(context)
    receipt.notes += [
        f"password of {kind}: its source gives another one now; deploy/rotate.py applies it"
        for kind, password in context.passwords.items()
        if password != context.secret(kind)
    ]
    host.noop(receipt.pending or "nothing is pending")


def volumes_beside(context: TenantContext) -> list[str]:
    """Each volume of the tenant's name that is not the live one: nobody removes it, so it must not be forgotten."""
    observed = context.observe()
    if observed.spec.generation is None:
        return []
    live = layout.volume(context.name, observed.spec.generation)
    return [
        f"volume {name} is kept beside the live {live}; runbooks/foreign-volume.md"
        for name in observed.volumes or ()
        if name != live
    ]


def pending(observed: TenantState, desired: ContainerSpec) -> str:
    """What only a recycle would change, "" where nothing."""
    container = observed.container
    if container is None or not container.running:
        return ""
    if container.spec_hash == desired.hash:
        return "; ".join(_settings_to_restore(observed, desired))
    return "; ".join(_differences(observed, container.image, desired)) or "flags or settings of this release"


def _differences(observed: TenantState, image: str, desired: ContainerSpec) -> list[str]:
    spec, tenant = observed.spec, desired.tenant
    pairs: dict[str, tuple[Any, Any]] = {
        "image": (image, desired.image.id),
        "port": (spec.port, tenant.port),
        "profile": (spec.body.get("profile"), tenant.profile_name),
        "listen": (described(spec.listening), described(tenant.listen.published if tenant.listen else {})),
    }
    if supervisor := spec.body.get("supervisor"):
        pairs["supervisor"] = (supervisor, desired.supervisor)
    return [f"{name} {now} -> {then}" for name, (now, then) in pairs.items() if now != then]


def _settings_to_restore(observed: TenantState, desired: ContainerSpec) -> list[str]:
    """Settings that somebody changed by hand, and that the running server cannot restore."""
    if observed.server is None:
        return []
    drift = setting_drift(desired_settings(desired.files[OURS]), observed.server.settings)
    return [
        f"{setting.name} {setting.live} -> {setting.desired or 'unset'}" for setting in drift if setting.needs_restart
    ]


def record_observation(context: TenantContext) -> None:
    """Versions, image and fingerprints, in the receipt."""
    receipt, observed = context.receipt, context.observe()
    if observed.server is None:
        return
    receipt.versions = {"postgres": observed.server.version, "pgvector": observed.server.vector}
    for row in observed.server.ledger:
        if row["state"] == "applied" and row["kind"] == "versioned":
            newest = receipt.versions.get(row["component"], "")
            receipt.versions[row["component"]] = max(row["version"], newest)
    if observed.container is not None:
        receipt.image = observed.container.image.removeprefix("sha256:")[:12]
        receipt.spec = observed.container.spec_hash
        receipt.rollout_hash = observed.spec.rollout_hash if observed.spec.hash == receipt.spec else ""
