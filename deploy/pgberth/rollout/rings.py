"""Rings: a change is tried on `canary` first, and the other tenants get it once it is proven there."""

from __future__ import annotations

import json
from typing import Any

from pyinfra import host, inventory, state
from pyinfra.api import operation
from pyinfra.api.exceptions import ConnectError
from pyinfra.context import ctx_host

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container import operations as container_room
from pgberth.container.context import TenantContext
from pgberth.container.spec import ContainerSpec
from pgberth.migrations.operations import tenant_probe
from pgberth.model import layout
from pgberth.model.problems import Problem
from pgberth.model.tenant import Tenant

CANARY = "canary"
PAGE = "runbooks/canary-not-green.md"

_LATEST = """cd "$1" 2>/dev/null || exit 0
latest=$(ls -1 | grep '\\.json$' | sort -r | head -n 1); [ -z "$latest" ] || cat "$latest"
"""


@operation()
def canary_green(context: TenantContext, files: dict[str, str], canaries: list[Tenant], concerned: bool) -> Commands:
    """
    The canary ring is green, and one of its tenants on what this tenant is about to get.

    + concerned: whether this tenant has to wait for it

    It yields nothing where the way is free, so that it never counts as a change.
    """
    if not state.is_executing or not concerned:
        return
    observed = context.observe()
    desired = container_room.desired_spec(context.tenant, observed, files) if observed is not None else None
    if not isinstance(desired, ContainerSpec):
        return  # the next operation says it
    problems, keys = [], set()
    for canary in canaries:
        key, why = judge(canary)
        keys.add(key)
        problems += [Problem(f"{context.tenant.name}: canary {canary.name} is not green: {why}")] if why else []
    if canaries and not problems and desired.rollout_hash not in keys:
        told = "image, profile, flags and bundle version"
        fact = f"{context.tenant.name}: no canary tenant runs what this one would get ({told} {desired.rollout_hash})"
        problems.append(Problem(fact))
    if problems:
        hint = f"nothing was done; recycle the ring first (--limit {CANARY}); {PAGE}"
        yield commands.refuse(*problems[:-1], Problem(problems[-1].fact, hint))


def judge(canary: Tenant) -> tuple[str, str]:
    """
    The rollout key of what a canary runs, and why it is not green; "" where it is.

    By what runs on its machine and by its newest receipt, whichever verb wrote that one.
    """
    there = inventory.get_host(canary.name)
    try:
        there.connect(raise_exceptions=True)
    except ConnectError as error:
        return "", f"its machine cannot be reached: {error}"
    with ctx_host.use(there):
        observed = TenantContext(canary, tenant_probe(canary)).observe()
        done, output = host.run_shell_command(commands.shell(_LATEST, layout.receipts(canary.name), timeout=20))
    if (
        observed is None
        or observed.container is None
        or not observed.container.running
        or not observed.container.reachable
    ):
        return "", "its container does not run"
    if observed.server is None:
        return "", f"its server does not answer: {observed.server_said}"
    if "recycling.json" in observed.files:
        return "", "a recycle of it is not over"
    if observed.spec.get("hash") != observed.container.spec_hash:
        return "", f"it runs spec {observed.container.spec_hash}, its spec file says {observed.spec.get('hash')}"
    return str(observed.spec.get("rollout", "")), _red(observed.container.spec_hash, output.stdout if done else "")


def _red(runs: str, receipt: str) -> str:
    """What a canary's newest receipt says against it, "" where nothing."""
    try:
        told: dict[str, Any] = json.loads(receipt or "{}")
        checks = dict(told.get("checks") or {})
    except (ValueError, TypeError, AttributeError):
        return "its newest receipt cannot be read"
    outcome = dict(told.get("did") or {}).get("outcome", "")
    if outcome not in ("", "recycled"):
        return f"its last {told.get('verb')} {outcome}"
    if not checks or told.get("spec") != runs:
        return f"nothing proves spec {runs}, which it runs"
    red = sorted(name for name, found in checks.items() if found != "passed")
    return f"its last {told.get('verb')} found {', '.join(red)} red" if red else ""
