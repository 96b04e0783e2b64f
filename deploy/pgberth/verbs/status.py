"""status: what is there, what only a recycle would change, and what nobody owns. Read-only; it takes no lock."""

from __future__ import annotations

from pyinfra import host, state
from pyinfra.api import operation

from pgberth.checks import operations as checks_room
from pgberth.checks.baseline import baseline_known, drift
from pgberth.checks.receipt import NOTES, Receipt
from pgberth.commands import Commands
from pgberth.container.facts import Berth
from pgberth.container.state import TenantState
from pgberth.database.configuration import restart_files
from pgberth.database.probe import Server
from pgberth.machine.facts import Carried, MachineState
from pgberth.model.load import Fleet
from pgberth.model.tenant import Machine
from pgberth.verbs import tenants
from pgberth.verbs.inventory import fleet, machine_here, tenant_here


def status() -> None:
    """The current host's part of a status."""
    found = fleet()
    machine, tenant = machine_here(found), tenant_here(found)
    if machine is not None:
        leftovers(name="leftovers are known", machine=machine, found=found)
    if tenant is not None:
        berth, receipt = tenants.begin("status", tenant)
        tenants.noted(name="what is pending is known", berth=berth, receipt=receipt, files=restart_files(tenant))
        baseline_known(name="a fresh run's catalogue is known", berth=berth, actions=tenants.ACTIONS)
        described(name="what is there is known", berth=berth, receipt=receipt)


@operation()
def described(berth: Berth, receipt: Receipt) -> Commands:
    """The tenant's state in words, in its receipt."""
    yield from ()
    seen = berth.look() if state.is_executing else None
    receipt.state = _state(berth, seen)
    if seen is None or seen.ready is None:
        return
    if not seen.ready.limits:
        receipt.notes.append("memory and pids limits are not enforced: this account has no cgroup of its own")
    server = Server.of(seen)
    if server is not None:
        receipt.notes += [f"drift: {finding}" for finding in server.access]
        receipt.notes += [f"drift: {line}" for line in drift(berth, server)]


def _state(berth: Berth, seen: TenantState | None) -> str:
    if seen is None or seen.ready is None:
        return "machine not ready"
    if seen.container is None:
        return "absent" if seen.generation is None else f"no container, data kept (g{seen.generation})"
    if seen.container.running and seen.server is None:
        return checks_room.not_answering(berth, seen).fact.removeprefix(f"{berth.tenant.name}: ")
    return f"{seen.container.status} g{seen.generation}"


@operation()
def leftovers(machine: Machine, found: Fleet) -> Commands:
    """Tenants on the machine that the inventory does not name are noted; never touched."""
    yield from ()
    if not state.is_executing:
        return
    facts = host.get_fact(MachineState, account=machine.account)
    if facts is None or not facts.uid:
        NOTES.append(f"{machine.name}: the account {machine.account} does not exist yet")
        return
    known = {tenant.name for tenant in found.tenants_on(machine.name)}
    carried = host.get_fact(Carried, facts=facts)
    for name in sorted(set(carried) - known):
        NOTES.append(f"{machine.name}: unmanaged tenant {name!r}: {', '.join(sorted(carried[name]))}; kept as it is")
