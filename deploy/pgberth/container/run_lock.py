"""One operator works on a tenant at a time: a kernel lock on its machine, which ends with the operator's process."""

from __future__ import annotations

import getpass
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyinfra import host, state

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.connectors.lease import LAPSE
from pgberth.container.context import TenantContext
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.run import current_run

WAIT = 10  # seconds; short, since all tenants of a run wait for the slowest


@dataclass
class RunLocks:
    """Tenant -> its lock, kept for the length of the run: dropping one would release it."""

    held: dict[str, Any] = field(default_factory=dict)


@guarded_operation(is_idempotent=False)
def acquire_run_lock(context: TenantContext) -> Commands:
    """
    No other operator works on the tenant, and none can until this run ends.

    It yields nothing where it gets the lock, so that it never counts as a change. `status` and `verify` need no lock.
    """
    yield from ()
    tenant, held = context.name, current_run().part(RunLocks).held
    if not state.is_executing or tenant in held:
        return
    directory, verb = layout.lock_file(tenant).rpartition("/")[0], context.receipt.verb
    who = f"{getpass.getuser()}@{socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC ({verb})"
    # Longer than any run: the end of standard input ends it.
    command = commands.shell(
        commands.script("container/hold.sh"), directory, tenant, who, str(WAIT), str(LAPSE), timeout=86_400
    )
    connector: Any = host.connector  # one of ours: the inventory makes no others for tenants
    lease, answer = connector.acquire_lock(command)
    if answer == "held":
        held[tenant] = lease
    else:
        _refuse(tenant, answer)


def _refuse(tenant: str, answer: str) -> None:
    if answer.startswith("busy "):
        fact = f"{tenant}: another operator works on it: {answer.removeprefix('busy ')}"
        raise Refused.because(fact, "wait for that run to end, then run the deploy again; runbooks/tenant-is-busy.md")
    if answer == "orphan":
        fact = f"{tenant}: a command that a killed run left behind is still working on it"
        raise Refused.because(fact, f"list it: lslocks | grep {layout.lock_file(tenant)}; then run the deploy again")
    if "does not exist" in answer or "has no home" in answer:
        return  # without an account there is nothing to lock; the next operation says what to do
    fact = f"{tenant}: its lock could not be taken: {answer or 'no answer'}"
    raise Refused.because(fact, "run the deploy again")
