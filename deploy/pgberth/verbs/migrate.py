"""migrate: components to the versions the inventory names, and nothing else of the tenant."""

from __future__ import annotations

from pgberth.checks.operations import receipt_kept, smoke
from pgberth.container.operations import data_is_its_own
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database.operations import access_current, configuration_current, connection_files_published
from pgberth.inventory.run_inventory import switch, tenant_here
from pgberth.migrations.changes import rehearsed, reverted
from pgberth.migrations.operations import at_targets
from pgberth.migrations.tenant_run import begin
from pgberth.verbs.fleet import fleet


def migrate() -> None:
    """
    The current host's part of a migrate.

    --data down=true also takes components down to a lower target; --data rehearse=true only prints.
    """
    tenant = tenant_here(fleet("down", "rehearse"))
    down, rehearse = switch("down", False), switch("rehearse", False)
    if tenant is None:
        return
    context = begin("migrate", tenant)
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    if rehearse:
        rehearsed(name="migration is rehearsed on a copy", context=context)
        return
    configuration_current(name="configuration is current", context=context)
    access_current(name="roles and rights are current", context=context)
    if down:
        reverted(name="schemas are down at their versions", context=context)
    at_targets(name="schemas are at their versions", context=context)
    # A new component has a URL, too.
    connection_files_published(name="connection files are published", context=context)
    smoke(name="smoke checks pass", context=context)
    receipt_kept(name="receipt is kept", context=context)
