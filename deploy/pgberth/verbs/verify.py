"""verify: the smoke suite; changes nothing."""

from __future__ import annotations

from pgberth.inventory.run_inventory import tenant_here
from pgberth.verbs import tenants
from pgberth.verbs.fleet import fleet


def verify() -> None:
    """The current host's part of a verify."""
    tenant = tenant_here(fleet())
    if tenant is not None:
        tenants.verify("verify", tenant)
