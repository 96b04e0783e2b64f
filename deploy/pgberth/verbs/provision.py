"""provision: machines, then tenants, to the inventory's state."""

from __future__ import annotations

from pgberth.checks.operations import import_early, receipt_kept, smoke
from pgberth.checks.pending import record_pending
from pgberth.container.context import TenantContext
from pgberth.container.create import tenant_created
from pgberth.container.operations import container_running, data_is_its_own, secrets_exist, volume_initialised
from pgberth.container.plugin import plugin_running
from pgberth.container.port import port_free
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database.operations import access_current, configuration_current, connection_files_published
from pgberth.database.tls import certificate_current
from pgberth.inventory.run_inventory import machine_here, switch, tenant_here
from pgberth.migrations.moving import nothing_misplaced
from pgberth.migrations.operations import at_targets
from pgberth.migrations.tenant_run import begin
from pgberth.rollout.settle import finish_interrupted_recycle
from pgberth.verbs import machines
from pgberth.verbs.fleet import external_certificates, external_passwords, fleet


def provision() -> None:
    """
    The current host's part of a provision.

    --data smoke=false leaves the smoke suite out.
    """
    found = fleet("smoke")
    machine, tenant = machine_here(found), tenant_here(found)
    passwords, certificates = external_passwords(), external_certificates()  # before anything is done on any machine
    if machine is not None:
        machines.check(found)
        machines.prepare(found, machine)
    machines.barrier(name="machines are ready", tenant=tenant)
    if tenant is not None:
        suite = switch("smoke", True)
        if suite:
            import_early()
        context = begin(
            "provision",
            tenant,
            passwords=passwords.get(tenant.name),
            certificate=certificates.get(tenant.name),
            ports=frozenset(other.port for other in found.tenants_on(tenant.machine.name)),
        )
        bring_up(context, suite=suite)


def bring_up(context: TenantContext, *, suite: bool) -> None:
    """
    Bring one tenant to the inventory's state and prove that it works. Operations are named by states.

    `tenant_created` makes and starts a tenant that does not exist yet, in one command, from the same steps as the
    operations after it, up to `container_running`. Those find nothing to do then; they keep a tenant that exists.
    """
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    port_free(name="port is free", context=context)
    tenant_created(name="a new tenant is created", context=context)
    secrets_exist(name="passwords exist", context=context)
    finish_interrupted_recycle(name="no recycle is half done", context=context)
    volume_initialised(name="volume is initialised", context=context)
    certificate_current(name="certificate is current", context=context)
    configuration_current(name="configuration is current", context=context)
    container_running(name="container runs", context=context)
    access_current(name="roles and rights are current", context=context)
    nothing_misplaced(name="no table lies in a wrong schema", context=context)
    at_targets(name="schemas are at their versions", context=context)
    connection_files_published(name="connection files are published", context=context)
    plugin_running(name="memory plugin runs", context=context)
    record_pending(name="what is pending is known", context=context)
    if suite:
        smoke(name="smoke checks pass", context=context)
    receipt_kept(name="receipt is kept", context=context)
