"""status: what is there, what only a recycle would change, and what nobody owns. Read-only; it takes no lock."""

from __future__ import annotations

from pyinfra import state
from pyinfra.api import operation

from pgberth import commands
from pgberth.checks import operations as checks_room
from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.container.state import TenantState
from pgberth.database.probe import Server
from pgberth.inventory.load import Fleet
from pgberth.inventory.run_inventory import machine_here, tenant_here
from pgberth.knowledge.model import CODE_STEPS
from pgberth.machine.facts import installed_tenants, observe
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
        context, receipt = begin("status", tenant)
        checks_room.record_pending(
            name="what is pending is known", context=context, receipt=receipt, files=restart_files(tenant)
        )
        baseline_known(name="a fresh run's catalogue is known", context=context, actions=CODE_STEPS, receipt=receipt)
        described(name="what is there is known", context=context, receipt=receipt)


@operation()
def described(context: TenantContext, receipt: Receipt) -> Commands:
    """The tenant's state in words, in its receipt."""
    yield from ()
    observed = context.observe() if state.is_executing else None
    receipt.state = _state(context, observed)
    if observed is None or observed.machine_profile is None:
        return
    if not observed.machine_profile.limits:
        receipt.notes.append("memory and pids limits are not enforced: this account has no cgroup of its own")
    receipt.notes += adrift(observed)
    server = Server.of(observed)
    if server is not None:
        receipt.notes += [f"drift: {finding}" for finding in server.access]
        receipt.notes += [f"drift: {line}" for line in drift(context, server)]
        if receipt.no_baseline:
            receipt.notes.append(f"drift: there is no fresh run's catalogue to compare with: {receipt.no_baseline}")


def adrift(observed: TenantState) -> list[str]:
    """How the container that is there differs from the spec file beside it."""
    found, told = observed.container, []
    if "recycling.json" in observed.files:
        told.append("a recycle was interrupted; the next deploy ends it")
    if found is not None and found.running and found.spec_hash != observed.spec.get("hash"):
        told.append(f"drift: it runs spec {found.spec_hash}, its spec file says {observed.spec.get('hash')}")
    if found is not None and found.running and found.image != observed.spec.get("image"):
        told.append(f"drift: it runs image {found.image}, its spec file says {observed.spec.get('image')}")
    return told


def _state(context: TenantContext, observed: TenantState | None) -> str:
    if observed is None or observed.machine_profile is None:
        return "machine not ready"
    if observed.container is None and "retired" in observed.spec:
        return f"retired {observed.spec['retired']}, data kept (g{observed.generation})"
    if observed.container is None:
        return "absent" if observed.generation is None else f"no container, data kept (g{observed.generation})"
    if observed.container.running and observed.server is None:
        return checks_room.not_answering(context, observed).fact.removeprefix(f"{context.tenant.name}: ")
    return f"{observed.container.status} g{observed.generation}"


@operation()
def leftovers(machine: Machine, found: Fleet) -> Commands:
    """What the machine carries for tenants that the inventory does not place there is noted; never touched."""
    if not state.is_executing:
        return
    facts = observe(machine)
    if facts is not None and not facts.uid:
        current_report().notes.append(f"{machine.name}: the account {machine.account} does not exist yet")
        return
    there = installed_tenants(facts) if facts is not None else None
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
