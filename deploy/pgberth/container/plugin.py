"""Verbs: a tenant's memory plugin runs, or is gone. It holds no data, so that it may be made anew at any time."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pyinfra import host, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.container.port import taken
from pgberth.container.sidecar import SCRIPT, PluginImage, SidecarSpec, systemd_unit, unit_name
from pgberth.container.state import sections_of
from pgberth.container.supervisor import supervisor_of
from pgberth.model import layout
from pgberth.model.listen import listening
from pgberth.model.problems import Problem
from pgberth.model.tenant import Tenant
from pgberth.rendering.entrypoint import GATE

_PAGE = "runbooks/sidecar-unhealthy.md"


class Record(Protocol):
    """Where a run keeps what it has to tell."""

    notes: list[str]
    did: dict[str, Any]


@dataclass(frozen=True)
class PluginState:
    """
    A memory plugin on its machine.

    + image: what the inventory's image is there; None where it is not
    + running: whether its container runs
    + spec_hash: what that was made from, "" where there is none
    + labelled: the tenant that its container names, "" where there is none
    + health: the first line of what GET /v1/health answers
    """

    image: PluginImage | None
    running: bool
    spec_hash: str
    labelled: str
    health: str

    @property
    def healthy(self) -> bool:
        return self.running and self.health.startswith("HTTP/") and " 200" in self.health

    @property
    def ill(self) -> str:
        """Why it is not healthy, in a few words."""
        return f"GET /v1/health gives {self.health or 'no answer'}" if self.running else "it does not run"

    @classmethod
    def parse(cls, output: list[str]) -> PluginState:
        """Raises ValueError, LookupError, TypeError or AttributeError where the output is not look-sidecar.sh's."""
        told = sections_of(output)
        container: dict[str, Any] = (json.loads(told["container"] or "[]") or [{}])[0]
        labels = container.get("Config", {}).get("Labels") or {}
        return cls(
            image=_image((json.loads(told["image"] or "[]") or [None])[0]),
            running=container.get("State", {}).get("Status") == "running",
            spec_hash=labels.get(layout.SPEC_LABEL, ""),
            labelled=labels.get(layout.TENANT_LABEL, "") if container else "",
            health=told["health"],
        )


def _image(told: dict[str, Any] | None) -> PluginImage | None:
    if told is None:
        return None
    command = (told["Config"].get("Entrypoint") or []) + (told["Config"].get("Cmd") or [])
    return PluginImage("sha256:" + told["Id"].removeprefix("sha256:"), tuple(command))


class PluginObservation(FactBase[PluginState | None]):
    """A tenant's memory plugin; None where it could not be asked."""

    def command(self, container: str, image: str, port: int) -> StringCommand:
        text = commands.script("container/health.sh") + commands.script("container/look-sidecar.sh")
        return commands.shell(text, container, image, str(port), timeout=60)

    def process(self, output: list[str]) -> PluginState:
        try:
            return PluginState.parse(output)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise FactProcessError(f"unexpected answer from look-sidecar.sh: {error!r}") from error

    @staticmethod
    def default() -> PluginState | None:
        return None


def observe_plugin(tenant: Tenant) -> PluginState | None:
    """The tenant's memory plugin now."""
    desired = tenant.sidecar
    if desired is None:
        return None
    place = {"container": layout.sidecar(tenant.name), "image": desired.image, "port": desired.port}
    found: PluginState | None = host.get_fact(PluginObservation, **place, _ignore_errors=not state.is_executing)
    return found


@operation()
def plugin_running(context: TenantContext, record: Record, anew: bool = False) -> Commands:
    """
    The tenant's memory plugin runs as the inventory has it, or is gone where the inventory has none.

    + record: is told how it stands
    + anew: make it anew though it is healthy; otherwise that is `pending: recycle`

    One that does not run or is not healthy is made anew, and has 30 seconds to become so.
    """
    observed = context.observe()
    if (
        observed is None
        or observed.machine_profile is None
        or observed.container is None
        or not observed.container.running
    ):
        return
    tenant = context.tenant
    if tenant.sidecar is None:
        if "sidecar" in observed.spec:
            yield from removed(context)
        return
    found = observe_plugin(tenant)
    desired = _desired(context, found)
    if isinstance(desired, Problem):
        yield commands.refuse(desired)
        return
    # With the other kind of session the server lets it in no more, whatever it says of its health.
    noted = observed.spec["sidecar"] if isinstance(observed.spec.get("sidecar"), dict) else {}
    shut_out = bool(noted) and bool(noted.get("tls")) != desired.tls
    if found is not None and found.healthy and not anew and not shut_out:
        if found.spec_hash != desired.hash:
            record.notes.append(
                f"memory plugin: pending: recycle (spec {found.spec_hash} runs, {desired.hash} is wanted)"
            )
        _told(record, found)
        return
    if not (found is not None and found.running) and (problem := _port_taken(tenant, desired.sidecar.port)):
        yield commands.refuse(problem)
        return
    yield from _made(context, desired)
    if state.is_executing:
        _told(record, observe_plugin(tenant))


def remade(context: TenantContext) -> Commands:
    """The tenant's memory plugin, where it has one, is made anew with the password that the spec file names by now."""
    if context.tenant.sidecar is None:
        return
    desired = _desired(context, observe_plugin(context.tenant))
    if isinstance(desired, Problem):
        yield commands.refuse(desired)
    else:
        yield from _made(context, desired)


def _port_taken(tenant: Tenant, port: int) -> Problem | None:
    text = commands.script("container/port.sh")
    done, output = host.run_shell_command(commands.shell(text, str(port), f"{layout.HOME}/tenants", timeout=20))
    return taken(replace(tenant, port=port), output.stdout_lines, ()) if done else None


def _desired(context: TenantContext, found: PluginState | None) -> SidecarSpec | Problem:
    tenant, observed = context.tenant, context.observe()
    password = context.secret("app")
    if observed is None or observed.machine_profile is None or tenant.sidecar is None or found is None:
        return Problem(f"{tenant.name}: its memory plugin could not be asked for", "run the deploy again")
    if found.image is None:
        fact = f"{tenant.name}: image {tenant.sidecar.image} of its memory plugin is not on {tenant.machine.name}"
        return Problem(fact, f"bring it into the store of {tenant.machine.account}: {_PAGE}")
    if not found.image.command:
        fact = f"{tenant.name}: image {tenant.sidecar.image} of its memory plugin has no command to run"
        return Problem(fact, f"give it an ENTRYPOINT or a CMD: {_PAGE}")
    if found.labelled not in ("", tenant.name):
        fact = f"{tenant.name}: container {layout.sidecar(tenant.name)!r} exists and is not this tenant's"
        return Problem(fact, "remove it if nobody needs it: runbooks/foreign-container.md")
    if password is None:
        return Problem(f"{tenant.name}: no stored password for {context.login}", "runbooks/secret-missing.md")
    machine_profile = observed.machine_profile
    supervisor = supervisor_of(machine_profile.podman, machine_profile.units)
    place = (machine_profile.home, machine_profile.podman, machine_profile.limits, supervisor)
    return SidecarSpec(
        tenant,
        tenant.sidecar,
        found.image,
        context.port,
        context.login,
        password,
        *place,
        bool(listening(observed.spec)),
    )


def _made(context: TenantContext, desired: SidecarSpec) -> Commands:
    name = context.tenant.name
    yield context.write(f"{layout.sidecar_etc(name)}/{SCRIPT}", desired.script, "0700")
    tls = {"tls": True} if desired.tls else {}
    yield from _noted(context, {"hash": desired.hash, "image": desired.image.id, "port": desired.sidecar.port, **tls})
    unit = systemd_unit(desired)
    told = [
        *(
            name,
            layout.sidecar(name),
            desired.secret,
            layout.sidecar_secrets(name),
            str(desired.sidecar.port),
            str(GATE),
        ),
        *("yes" if desired.sidecar.required else "no", f"{unit_name(name)}.service", unit.file if unit else ""),
    ]
    script = commands.script("container/health.sh") + commands.script("container/start-sidecar.sh")
    stdin = f"{desired.url.reveal()}\n{unit.text if unit else ''}"
    yield context.change(script, *told, *desired.arguments(), timeout=150, stdin=stdin)


def removed(context: TenantContext) -> Commands:
    """The tenant's memory plugin is gone, its secret and its unit with it."""
    name = context.tenant.name
    told = [layout.sidecar(name), layout.sidecar_secrets(name), f"{unit_name(name)}.service", layout.sidecar_etc(name)]
    yield context.change(commands.script("container/remove-sidecar.sh"), *told)
    yield from _noted(context, None)


def _noted(context: TenantContext, sidecar: dict[str, Any] | None) -> Commands:
    """What should run beside the server stands in the tenant's spec file, too."""
    observed = context.observe()
    spec = dict(observed.spec) if observed is not None else {}
    desired = {**spec, "sidecar": sidecar} if sidecar else {key: spec[key] for key in spec if key != "sidecar"}
    if spec and desired != spec:
        yield context.write(layout.spec_file(context.tenant.name), json.dumps(desired, indent=2, sort_keys=True) + "\n")


def _told(record: Record, found: PluginState | None) -> None:
    well = found is not None and found.healthy
    record.did["memory_plugin"] = "healthy" if well else "degraded"
    if not well:
        why = found.ill if found is not None else "it could not be asked"
        record.notes.append(f"memory plugin: degraded: {why}; {_PAGE}")


@operation()
def plugin_answers(context: TenantContext, record: Record) -> Commands:
    """The memory plugin is healthy. Where it is not, a required one fails the run and another is noted; no change."""
    tenant = context.tenant
    found = observe_plugin(tenant) if state.is_executing else None
    if tenant.sidecar is None or not state.is_executing:
        return
    _told(record, found)
    if tenant.sidecar.required and (found is None or not found.healthy):
        why = found.ill if found is not None else "it could not be asked"
        yield commands.refuse(Problem(f"{tenant.name}: its memory plugin is not healthy: {why}", _PAGE))
