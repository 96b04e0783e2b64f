"""Machine work, and the barrier between it and the tenants."""

from __future__ import annotations

from pyinfra import inventory, state
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.machine import operations as machine_room
from pgberth.machine.facts import Survey
from pgberth.model.load import Fleet
from pgberth.model.problems import Problem
from pgberth.model.tenant import Machine, Tenant


def prepare(found: Fleet, machine: Machine) -> None:
    """Everything a machine needs before its tenants' turn."""
    survey = Survey(machine, list(dict.fromkeys(tenant.image for tenant in found.tenants_on(machine.name))))
    machine_room.prepared(name="machine is prepared", survey=survey)
    if survey.images:
        machine_room.images_present(name="image is present", survey=survey)
        machine_room.runtime_chosen(name="a container has run", survey=survey)


@operation()
def barrier(tenant: Tenant | None) -> Commands:
    """
    Machines come before tenants, and a failed machine stops its own tenants only.

    pyinfra interleaves hosts that share no operation; this one all of them run. It yields nothing where the
    machine is well, so it never counts as a change.
    """
    if tenant is None:
        return
    machine = inventory.get_host(tenant.machine.name)
    if machine in state.failed_hosts:
        fact = f"{tenant.name}: its machine {tenant.machine.name} failed; see above"
        yield commands.refuse(Problem(fact, "mend the machine, then run the deploy again"))
