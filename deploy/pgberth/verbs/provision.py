"""provision: machines, then tenants, to the inventory's state."""

from __future__ import annotations

from pgberth.verbs import machines, tenants
from pgberth.verbs.inventory import certificates_given, fleet, machine_here, passwords_given, switch, tenant_here


def provision() -> None:
    """
    The current host's part of a provision.

    --data smoke=false leaves the smoke suite out.
    """
    found = fleet("smoke")
    machine, tenant = machine_here(found), tenant_here(found)
    passwords_given(found)  # before anything is done on any machine
    certificates_given(found)
    if machine is not None:
        machines.check(found)
        machines.prepare(found, machine)
    machines.barrier(name="machines are ready", tenant=tenant)
    if tenant is not None:
        tenants.provision("provision", tenant, found, smoke=switch("smoke", True))
