"""retire: a tenant leaves, its data stays."""

from __future__ import annotations

from pyinfra.api.exceptions import DeployError

from pgberth.checks.operations import receipt_kept
from pgberth.container.retire import retired
from pgberth.container.run_lock import acquire_run_lock
from pgberth.inventory.run_inventory import one_concerned, tenant_here
from pgberth.migrations.begin import begin
from pgberth.model.problems import Problem
from pgberth.run import current_run
from pgberth.verbs.fleet import fleet


def retire() -> None:
    """The current host's part. --data tenant=NAME, typed in full"""
    found, typed = fleet("tenant"), current_run().data.get("tenant", "")
    if typed not in found.tenants:
        hint = f"type the name of the tenant that leaves: one of {', '.join(found.tenants)}"
        raise DeployError(str(Problem(f"--data tenant={typed!r} is not a tenant of this inventory", hint)))
    one_concerned("retire", [typed])
    tenant = tenant_here(found)
    if tenant is None or tenant.name != typed:
        return
    context = begin("retire", tenant)
    acquire_run_lock(name="tenant is locked for this run", context=context)
    retired(name="tenant is retired", context=context)
    context.receipt.state = "retired, data kept"
    receipt_kept(name="receipt is kept", context=context)
