"""move: what an older installation left in the wrong schema is brought where it belongs, once."""

from __future__ import annotations

from pgberth.checks import operations as checks_room
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database import operations as database_room
from pgberth.inventory.run_inventory import tenant_here
from pgberth.migrations import moving
from pgberth.migrations import operations as migrations_room
from pgberth.migrations.operations import begin
from pgberth.rendering.configuration import reload_files
from pgberth.verbs.fleet import fleet


def move() -> None:
    """The current host's part."""
    tenant = tenant_here(fleet())
    if tenant is None:
        return
    context, receipt = begin("move", tenant)
    acquire_run_lock(name="tenant is ours", context=context, verb="move")
    moving.set_aside(name="public holds pgvector alone", context=context)
    database_room.access_current(name="roles and rights are as wanted", context=context)
    migrations_room.at_targets(name="schemas are at their versions", context=context)
    moving.brought_over(name="rows are brought over", context=context, did=receipt.did)
    checks_room.smoke(name="smoke checks pass", context=context, receipt=receipt, files=reload_files(tenant))
    checks_room.receipt_kept(name="receipt is kept", context=context, receipt=receipt)
