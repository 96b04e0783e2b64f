"""Rings: a change is tried on `canary` first, and the other tenants get it once it is proven there."""

from __future__ import annotations

import json
from typing import Any

from pyinfra import host, inventory, state
from pyinfra.api.exceptions import ConnectError
from pyinfra.context import ctx_host

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.desired import spec_or_none
from pgberth.migrations.tenant_run import tenant_probe
from pgberth.model import layout
from pgberth.model.diagnosis import diagnose, own_words
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Tenant

CANARY = "canary"
PAGE = "runbooks/canary-not-green.md"


@guarded_operation()
def canary_green(context: TenantContext, canaries: list[Tenant], concerned: bool) -> Commands:
    """
    The canary ring is green, and one of its tenants runs what this tenant will get.

    + concerned: whether this tenant has to wait for it

    It yields nothing where the way is free, so that it never counts as a change.
    """
    yield from ()
    desired = spec_or_none(context) if state.is_executing and concerned else None
    if desired is None:
        return  # not this tenant's turn; or the next operation says what is wrong
    problems, keys = [], set()
    for canary in canaries:
        key, fault = judge_canary(canary)
        keys.add(key)
        problems += [Problem(f"{context.name}: canary {canary.name} is not green: {fault}")] if fault else []
    if canaries and not problems and desired.rollout_hash not in keys:
        change = f"image, profile, flags and bundle version {desired.rollout_hash}"
        problems.append(Problem(f"{context.name}: no canary tenant runs what this one would get ({change})"))
    if problems:
        hint = f"nothing was done; recycle the ring first (--limit {CANARY}); {PAGE}"
        raise Refused([*problems[:-1], Problem(problems[-1].fact, hint)])


def judge_canary(canary: Tenant) -> tuple[str, str]:
    """
    The rollout key of what a canary runs, and why it is not green; "" where it is.

    By what runs on its machine and by its newest receipt, whichever verb wrote it.
    """
    there = inventory.get_host(canary.name)
    try:
        there.connect(raise_exceptions=True)
    except ConnectError as error:
        return "", f"its machine cannot be reached: {error}"
    script = commands.script("rollout/newest-receipt.sh")
    with ctx_host.use(there):
        observed = TenantContext(canary, tenant_probe(canary)).observe()
        done, output = host.run_shell_command(commands.shell(script, layout.receipts(canary.name), timeout=20))
    container, spec = observed.container, observed.spec
    if container is None or not container.running or not container.reachable:
        return "", "its container does not run"
    if observed.answer is None:
        return "", f"{diagnose(observed.server_error).means}: {own_words(observed.server_error)}"
    if "recycling.json" in observed.files:
        return "", "a recycle of it is not over"
    if spec.hash != container.spec_hash:
        return "", f"it runs spec {container.spec_hash}, its spec file says {spec.hash or None}"
    return spec.rollout_hash, _fault_in(output.stdout if done else "", container.spec_hash)


def _fault_in(text: str, runs: str) -> str:
    """What a canary's newest receipt says against it, "" where nothing. + runs: the spec hash of its container"""
    try:
        receipt: dict[str, Any] = json.loads(text or "{}")
        checks = dict(receipt.get("checks") or {})
        outcome = dict(receipt.get("did") or {}).get("outcome", "")
    except (ValueError, TypeError, AttributeError):
        return "its newest receipt cannot be read"
    if outcome not in ("", "recycled"):
        return f"its last {receipt.get('verb')} {outcome}"
    if not checks or receipt.get("spec") != runs:
        return f"nothing proves spec {runs}, which it runs"
    red = sorted(name for name, result in checks.items() if result != "passed")
    return f"its last {receipt.get('verb')} found {', '.join(red)} red" if red else ""
