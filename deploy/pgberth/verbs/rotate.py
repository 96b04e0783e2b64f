"""rotate: new passwords for a tenant, with no client refused on the way."""

from __future__ import annotations

from pgberth.checks import operations as checks_room
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database import operations as database_room
from pgberth.database import rotation
from pgberth.inventory.run_inventory import number, tenant_here
from pgberth.migrations.operations import begin
from pgberth.rendering.configuration import reload_files
from pgberth.verbs.fleet import external_passwords, fleet

DRAIN = 30  # seconds


def rotate() -> None:
    """
    The current host's part of a rotate.

    --data drain=SECONDS: how long sessions with the former password may stay
    """
    found = fleet("drain")
    tenant = tenant_here(found)
    drain = number("drain", DRAIN, most=3600)
    passwords = external_passwords()
    if tenant is None:
        return
    context, receipt = begin("rotate", tenant, passwords.get(tenant.name))
    acquire_run_lock(name="tenant is ours", context=context, verb="rotate")
    database_room.access_current(name="roles and rights are as wanted", context=context)
    did, notes = receipt.did, receipt.notes
    rotation.roles_rotated(
        name="superuser, migrator and monitor have new passwords", context=context, did=did, notes=notes
    )
    rotation.app_rotated(name="app has a new password", context=context, did=did, notes=notes, drain=drain)
    checks_room.smoke(name="smoke checks pass", context=context, receipt=receipt, files=reload_files(tenant))
    checks_room.receipt_kept(name="receipt is kept", context=context, receipt=receipt)
