"""status: what is there, what only a recycle would change, and what nobody owns. Read-only; it takes no lock."""

from __future__ import annotations

from pyinfra import state
from pyinfra.api import operation

from pgberth import commands
from pgberth.checks import operations as checks_room
from pgberth.commands import Commands
from pgberth.container.facts import Berth
from pgberth.container.state import TenantState
from pgberth.database.probe import Server
from pgberth.inventory.load import Fleet
from pgberth.inventory.run_inventory import machine_here, tenant_here
from pgberth.knowledge.model import CODE_STEPS
from pgberth.machine.facts import asked, carried
from pgberth.migrations.baseline import baseline_known, drift
from pgberth.migrations.operations import begin
from pgberth.model.problems import Problem
from pgberth.model.tenant import Machine
from pgberth.rendering.configuration import restart_files
from pgberth.report.receipt import Receipt, current_report
from pgberth.verbs.fleet import fleet


def status() -> None:
    """The current host's part of a status."""
    found = fleet()
    machine, tenant = machine_here(found), tenant_here(found)
    if machine is not None:
        leftovers(name="leftovers are known", machine=machine, found=found)
    if tenant is not None:
        berth, receipt = begin("status", tenant)
        checks_room.noted(name="what is pending is known", berth=berth, receipt=receipt, files=restart_files(tenant))
        baseline_known(name="a fresh run's catalogue is known", berth=berth, actions=CODE_STEPS, receipt=receipt)
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
    receipt.notes += adrift(seen)
    server = Server.of(seen)
    if server is not None:
        receipt.notes += [f"drift: {finding}" for finding in server.access]
        receipt.notes += [f"drift: {line}" for line in drift(berth, server)]
        if receipt.no_baseline:
            receipt.notes.append(f"drift: there is no fresh run's catalogue to compare with: {receipt.no_baseline}")


def adrift(seen: TenantState) -> list[str]:
    """How the container that is there differs from the spec file beside it."""
    found, told = seen.container, []
    if "recycling.json" in seen.files:
        told.append("a recycle was interrupted; the next deploy ends it")
    if found is not None and found.running and found.spec_hash != seen.spec.get("hash"):
        told.append(f"drift: it runs spec {found.spec_hash}, its spec file says {seen.spec.get('hash')}")
    if found is not None and found.running and found.image != seen.spec.get("image"):
        told.append(f"drift: it runs image {found.image}, its spec file says {seen.spec.get('image')}")
    return told


def _state(berth: Berth, seen: TenantState | None) -> str:
    if seen is None or seen.ready is None:
        return "machine not ready"
    if seen.container is None and "retired" in seen.spec:
        return f"retired {seen.spec['retired']}, data kept (g{seen.generation})"
    if seen.container is None:
        return "absent" if seen.generation is None else f"no container, data kept (g{seen.generation})"
    if seen.container.running and seen.server is None:
        return checks_room.not_answering(berth, seen).fact.removeprefix(f"{berth.tenant.name}: ")
    return f"{seen.container.status} g{seen.generation}"


@operation()
def leftovers(machine: Machine, found: Fleet) -> Commands:
    """What the machine carries for tenants that the inventory does not place there is noted; never touched."""
    if not state.is_executing:
        return
    facts = asked(machine)
    if facts is not None and not facts.uid:
        current_report().notes.append(f"{machine.name}: the account {machine.account} does not exist yet")
        return
    there = carried(facts) if facts is not None else None
    if there is None:
        current_report().notes.append(f"{machine.name}: could not be asked what it carries")
        yield commands.refuse(Problem(f"{machine.name}: could not be asked what it carries", "see above"))
        return
    known = {tenant.name for tenant in found.tenants_on(machine.name)}
    for name in sorted(set(there) - known):
        elsewhere = found.tenants.get(name)
        placed = f" (the inventory has it on {elsewhere.machine.name})" if elsewhere is not None else ""
        things = ", ".join(sorted(there[name] - {"retired"}))
        word = "retired" if "retired" in there[name] else "unmanaged"
        current_report().notes.append(f"{machine.name}: {word} tenant {name!r}{placed}: {things}; kept as it is")
