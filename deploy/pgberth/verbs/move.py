"""move: tables that an older installation left in `public`, and a misplaced pgvector, go to their schemas."""

from __future__ import annotations

from pgberth.checks.operations import receipt_kept, smoke
from pgberth.container.operations import data_is_its_own
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database.operations import access_current, configuration_current
from pgberth.inventory.run_inventory import tenant_here
from pgberth.migrations.moving import brought_over, set_aside
from pgberth.migrations.operations import at_targets
from pgberth.migrations.tenant_run import begin
from pgberth.verbs.fleet import fleet


def move() -> None:
    """The current host's part of a move."""
    tenant = tenant_here(fleet())
    if tenant is None:
        return
    context = begin("move", tenant)
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    configuration_current(name="configuration is current", context=context)
    set_aside(name="public holds pgvector alone", context=context)
    access_current(name="roles and rights are current", context=context)
    at_targets(name="schemas are at their versions", context=context)
    brought_over(name="rows are brought over", context=context)
    smoke(name="smoke checks pass", context=context)
    receipt_kept(name="receipt is kept", context=context)
