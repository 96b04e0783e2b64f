"""rotate: new passwords for a tenant, with no client refused on the way."""

from __future__ import annotations

from pgberth.checks.operations import receipt_kept, smoke
from pgberth.container.operations import data_is_its_own
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database.operations import access_current, configuration_current
from pgberth.database.rotation import app_rotated, roles_rotated
from pgberth.inventory.run_inventory import number, tenant_here
from pgberth.migrations.operations import schemas_repaired
from pgberth.migrations.tenant_run import begin
from pgberth.verbs.fleet import external_passwords, fleet

DRAIN = 30  # seconds


def rotate() -> None:
    """
    The current host's part of a rotate.

    --data drain=SECONDS: how long sessions with the previous password may stay
    """
    found = fleet("drain")
    tenant = tenant_here(found)
    drain = number("drain", DRAIN, most=3600)
    passwords = external_passwords()
    if tenant is None:
        return
    context = begin("rotate", tenant, passwords=passwords.get(tenant.name))
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    configuration_current(name="configuration is current", context=context)
    access_current(name="roles and rights are current", context=context)
    roles_rotated(name="superuser, migrator and monitor have new passwords", context=context)
    app_rotated(name="app has a new password", context=context, drain=drain)
    schemas_repaired(name="rights, functions and triggers are current", context=context)
    smoke(name="smoke checks pass", context=context)
    receipt_kept(name="receipt is kept", context=context)
