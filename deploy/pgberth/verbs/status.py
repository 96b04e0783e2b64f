"""status: what is there, what only a recycle would change, and what nobody owns. Read-only; it takes no lock."""

from __future__ import annotations

from pyinfra import state

from pgberth.checks.pending import record_pending
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
from pgberth.migrations.baseline import baseline_known, drift
from pgberth.migrations.tenant_run import begin
from pgberth.model.problems import Refused
from pgberth.model.tenant import Machine
from pgberth.report.receipt import current_report
from pgberth.verbs.fleet import fleet


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
    receipt.notes += container_drift(observed)
    receipt.notes += _plugin_faults(context)
    if observed.server is not None:
        receipt.notes += [f"drift: {finding}" for finding in observed.server.access]
        receipt.notes += [f"drift: {line}" for line in drift(context, observed.server)]
        if receipt.no_baseline:
            receipt.notes.append(f"drift: there is no fresh run's catalogue to compare with: {receipt.no_baseline}")


def _plugin_faults(context: TenantContext) -> list[str]:
    """That the memory plugin is down or ill, where the tenant has one and is in service."""
    if context.tenant.sidecar is None or context.observe().container is None:
        return []
    fault = plugin_fault(observe_plugin(context.tenant))
    return [f"memory plugin: {fault}; {PLUGIN_PAGE}"] if fault else []


def container_drift(observed: TenantState) -> list[str]:
    """How the container differs from the spec file beside it."""
    container, spec, lines = observed.container, observed.spec, []
    if "recycling.json" in observed.files:
        lines.append("a recycle was interrupted; the next deploy ends it")
    if container is not None and container.running:
        pairs = {"spec": (container.spec_hash, spec.hash), "image": (container.image, spec.image)}
        lines += [
            f"drift: it runs {what} {runs}, its spec file says {recorded or None}"
            for what, (runs, recorded) in pairs.items()
            if runs != recorded
        ]
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
    if observed.container.running and observed.answer is None:
        return context.not_answering().fact.removeprefix(f"{context.name}: ")
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
