"""One operator works on a tenant at a time: a kernel lock on its machine, freed when the operator's process ends."""

from __future__ import annotations

import getpass
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyinfra import host, state
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.connectors.lease import LAPSE
from pgberth.container.context import TenantContext
from pgberth.model import layout
from pgberth.model.problems import Problem
from pgberth.run import current_run

WAIT = 10  # seconds; short, since all tenants of a run wait for the slowest


@dataclass
class RunLocks:
    """Tenant -> its lock. Kept for the length of the run: letting go of one would free it."""

    held: dict[str, Any] = field(default_factory=dict)


@operation(is_idempotent=False)
def acquire_run_lock(context: TenantContext, verb: str) -> Commands:
    """
    No other operator works on the tenant, and none will until this run ends.

    It yields nothing where the lock is taken, so that it never counts as a change. `status` and `verify` need none.
    """
    tenant = context.tenant
    if not state.is_executing or tenant.name in current_run().part(RunLocks).held:
        return
    directory = layout.lock_file(tenant.name).rpartition("/")[0]
    who = f"{getpass.getuser()}@{socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC ({verb})"
    script = commands.script("container/hold.sh")
    # Longer than any run: the end of standard input ends it.
    command = commands.shell(script, directory, tenant.name, who, str(WAIT), str(LAPSE), timeout=86_400)
    connector: Any = host.connector  # one of ours: the inventory makes no others for tenants
    held, said = connector.acquire_lock(command)
    if said == "held":
        current_run().part(RunLocks).held[tenant.name] = held
        return
    if problem := _why_not(tenant.name, said):
        yield commands.refuse(problem)


def _why_not(tenant: str, said: str) -> Problem | None:
    if said.startswith("busy "):
        fact = f"{tenant}: another operator works on it: {said.removeprefix('busy ')}"
        return Problem(fact, "wait for that run to end, then run the deploy again; runbooks/tenant-is-busy.md")
    if said == "orphan":
        fact = f"{tenant}: a command that a killed run left behind is still working on it"
        return Problem(fact, f"see which: lslocks | grep {layout.lock_file(tenant)}; then run the deploy again")
    if "does not exist" in said or "has no home" in said:
        return None  # no account, so no tenant to be locked; the next operation says what to do
    return Problem(f"{tenant}: its lock could not be taken: {said or 'no answer'}", "run the deploy again")
