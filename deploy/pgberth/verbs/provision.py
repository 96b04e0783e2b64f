"""provision: machines, then tenants, to the inventory's state."""

from __future__ import annotations

from pgberth.inventory.run_inventory import machine_here, switch, tenant_here
from pgberth.verbs import machines, tenants
from pgberth.verbs.fleet import external_certificates, external_passwords, fleet


def provision() -> None:
    """
    The current host's part of a provision.

    --data smoke=false leaves the smoke suite out.
    """
    found = fleet("smoke")
    machine, tenant = machine_here(found), tenant_here(found)
    external_passwords()  # before anything is done on any machine
    external_certificates()
    if machine is not None:
        machines.check(found)
        machines.prepare(found, machine)
    machines.barrier(name="machines are ready", tenant=tenant)
    if tenant is not None:
        tenants.provision("provision", tenant, found, smoke=switch("smoke", True))
