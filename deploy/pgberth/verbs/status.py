"""status: what is there, what only a recycle would change, and what nobody owns. Read-only; it takes no lock."""

from __future__ import annotations

from pyinfra import state

from pgberth.checks.operations import check_context
from pgberth.checks.pending import record_pending
from pgberth.checks.suite import run_observed
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.plugin import PAGE as PLUGIN_PAGE
from pgberth.container.plugin import plugin_fault
from pgberth.container.plugin_state import observe_plugin
from pgberth.container.state import TenantState
from pgberth.inventory.load import Fleet
from pgberth.inventory.run_inventory import machine_here, tenant_here
from pgberth.knowledge.model import CODE_STEPS
from pgberth.machine.facts import installed_tenants, observe
from pgberth.machine.preparation import FREE_KIB_FLOOR
from pgberth.migrations.baseline import baseline_known, drift
from pgberth.migrations.tenant_run import begin
from pgberth.model.diagnosis import DISK_FULL, LOCK, NO_CONNECTION, STARTING, pages
from pgberth.model.problems import Refused
from pgberth.model.sessions import BLOCKS_WRITERS
from pgberth.model.tenant import Machine
from pgberth.report.receipt import current_report
from pgberth.verbs.fleet import fleet

_LOCK_SECONDS = 3  # a check waits as long for a lock; what is held shorter is everyday work


def status() -> None:
    """The current host's part of a status."""
    found = fleet()
    machine, tenant = machine_here(found), tenant_here(found)
    if machine is not None:
        leftovers(name="leftovers are known", machine=machine, found=found)
    if tenant is not None:
        context = begin("status", tenant)
        record_pending(name="what is pending is known", context=context)
        baseline_known(name="the catalogue of a fresh run is known", context=context, actions=CODE_STEPS)
        state_known(name="the tenant's state is known", context=context)


@guarded_operation()
def state_known(context: TenantContext) -> Commands:
    """The tenant's state in words, in its receipt."""
    yield from ()
    receipt, observed = context.receipt, context.observe() if state.is_executing else TenantState(None)
    receipt.state = _state(context, observed)
    if observed.machine_profile is None:
        return
    if not observed.machine_profile.limits:
        receipt.notes.append("memory and pids limits are not enforced: this account has no cgroup of its own")
    receipt.notes += unfinished_work(observed)
    receipt.notes += _plugin_faults(context)
    if (fault := context.outage()) is not None and observed.running:
        receipt.notes.append(f"{fault.fact.removeprefix(f'{context.name}: ')}; {fault.hint}")
    if observed.server is not None and observed.container is not None:
        receipt.notes += in_the_way(observed)
        # Only what needs no session of its own: a status is often asked for, and must not disturb.
        receipt.results = run_observed(check_context(context, ("", 0), drift=False))
        red = [problem for result in receipt.failed_checks for problem in result.problems]
        receipt.notes += [f"verify would be red: {page}" for page in pages(red)]
        receipt.notes += [f"drift: {line}" for line in drift(context, observed.server)] if fault is None else []
        if receipt.no_baseline:
            receipt.notes.append(f"drift: there is no fresh run's catalogue to compare with: {receipt.no_baseline}")


def _plugin_faults(context: TenantContext) -> list[str]:
    """That the memory plugin is down or ill, where the tenant has one and is in service."""
    if context.tenant.sidecar is None or context.observe().container is None:
        return []
    fault = plugin_fault(observe_plugin(context.tenant))
    return [f"memory plugin: {fault}; {PLUGIN_PAGE}"] if fault else []


def unfinished_work(observed: TenantState) -> list[str]:
    """What an earlier run began and did not end, and whether the disk has room for the next one."""
    lines = []
    if "recycling.json" in observed.files:
        lines.append("a recycle was interrupted; the next deploy ends it")
    if previous := observed.spec.previous_login:
        lines.append(
            f"a rotation is not over: {previous} can still log in;"
            " deploy/rotate.py ends it; runbooks/rotate-passwords.md"
        )
    if observed.free_kib is not None and observed.free_kib < FREE_KIB_FLOOR:
        lines.append(
            f"{observed.free_kib // 1024} MiB free for {observed.home}, {FREE_KIB_FLOOR // 1024} needed;"
            f" {DISK_FULL.page}"
        )
    return lines


def in_the_way(observed: TenantState) -> list[str]:
    """What would keep the checks, or clients, from their work: sessions with locks, used-up connections, recovery."""
    activity = observed.activity
    locks = activity.holders(BLOCKS_WRITERS, seconds=_LOCK_SECONDS)
    lines = [f"{LOCK.means}: {line}; {LOCK.hint}" for line in locks]
    lines += [f"{NO_CONNECTION.means}: {line}; {NO_CONNECTION.hint}" for line in activity.full()]
    if observed.server is not None and observed.server.in_recovery:
        lines.append(f"the server is in recovery; {STARTING.hint}")
    return lines


def _state(context: TenantContext, observed: TenantState) -> str:
    if not observed.ready:
        return "machine not ready"
    if observed.container is None and observed.spec.retired:
        return f"retired {observed.spec.retired}, data kept (g{observed.spec.generation})"
    if observed.container is None:
        return (
            "absent" if observed.spec.generation is None else f"no container, data kept (g{observed.spec.generation})"
        )
    if observed.container.running and (fault := context.outage()) is not None:
        return fault.fact.split(": ")[1]
    return f"{observed.container.status} g{observed.spec.generation}"


@guarded_operation()
def leftovers(machine: Machine, found: Fleet) -> Commands:
    """What the machine holds of tenants that the inventory does not place there is noted; never touched."""
    yield from ()
    if not state.is_executing:
        return
    facts = observe(machine)
    if facts is not None and not facts.uid:
        current_report().notes.append(f"{machine.name}: the account {machine.account} does not exist yet")
        return
    there = installed_tenants(facts) if facts is not None else None
    if there is None:
        current_report().notes.append(f"{machine.name}: could not list its tenants")
        raise Refused.because(f"{machine.name}: could not list its tenants", "see above")
    known = {tenant.name for tenant in found.tenants_on(machine.name)}
    for name in sorted(set(there) - known):
        elsewhere = found.tenants.get(name)
        placed = f" (the inventory has it on {elsewhere.machine.name})" if elsewhere is not None else ""
        things = ", ".join(sorted(there[name] - {"retired"}))
        word = "retired" if "retired" in there[name] else "unmanaged"
        current_report().notes.append(f"{machine.name}: {word} tenant {name!r}{placed}: {things}; kept as it is")
