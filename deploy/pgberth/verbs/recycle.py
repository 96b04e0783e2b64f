"""recycle: a new container on the same volume, ring by ring; a tenant that is red goes back to its previous one."""

from __future__ import annotations

from pgberth.inventory.run_inventory import number, switch, tenant_here
from pgberth.rollout.recycle import RecycleOptions, recycle_tenant
from pgberth.run import current_run
from pgberth.verbs.fleet import fleet


def recycle() -> None:
    """
    The current host's part of a recycle.

    --data reason=TEXT goes into the receipt; --data pending=true takes only tenants whose spec differs;
    --data max_down=N lets that many be without a server at once.
    """
    found = fleet("reason", "pending", "max_down")
    reason, at_once = current_run().data.get("reason", ""), number("max_down", 1, least=1, most=100)
    options = RecycleOptions(reason, switch("pending", False), at_once)
    tenant = tenant_here(found)
    if tenant is not None:
        recycle_tenant(tenant, found, options, "recycle")
