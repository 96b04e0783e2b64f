"""migrate: components to the versions the inventory names, and nothing else of the tenant."""

from __future__ import annotations

from pgberth.checks import operations as checks_room
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database import operations as database_room
from pgberth.inventory.run_inventory import switch, tenant_here
from pgberth.migrations import changes
from pgberth.migrations import operations as migrations_room
from pgberth.migrations.operations import begin
from pgberth.rendering.configuration import reload_files
from pgberth.verbs.fleet import fleet


def migrate() -> None:
    """
    The current host's part of a migrate.

    --data down=true also takes components down to a lower target; --data rehearse=true only tells.
    """
    tenant = tenant_here(fleet("down", "rehearse"))
    down, rehearse = switch("down", False), switch("rehearse", False)
    if tenant is None:
        return
    context, receipt = begin("migrate", tenant)
    acquire_run_lock(name="tenant is ours", context=context, verb="migrate")
    if rehearse:
        changes.rehearsed(name="migration is rehearsed on a copy", context=context)
        return
    database_room.access_current(name="roles and rights are as wanted", context=context)
    if down:
        stamp = f"{receipt.started:%Y%m%dT%H%M%SZ}"
        changes.reverted(name="schemas are down at their versions", context=context, stamp=stamp)
    migrations_room.at_targets(name="schemas are at their versions", context=context)
    # A component that came has a URL, too.
    database_room.connection_files_published(name="connection files are published", context=context)
    checks_room.smoke(name="smoke checks pass", context=context, receipt=receipt, files=reload_files(tenant))
    checks_room.receipt_kept(name="receipt is kept", context=context, receipt=receipt)
