"""verify: the smoke suite; changes nothing."""

from __future__ import annotations

from pgberth.verbs import tenants
from pgberth.verbs.inventory import fleet, tenant_here


def verify() -> None:
    """The current host's part of a verify."""
    tenant = tenant_here(fleet())
    if tenant is not None:
        tenants.verify("verify", tenant)
