"""The TenantContext and the receipt with which a verb works on one tenant."""

from __future__ import annotations

from collections.abc import Mapping

from pgberth.container.context import TenantContext
from pgberth.database.probe import probe_sql
from pgberth.migrations import ledger
from pgberth.migrations.operations import findings_sql
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant
from pgberth.report.receipt import Receipt, current_report


def begin(
    verb: str,
    tenant: Tenant,
    *,
    passwords: Mapping[str, Secret] | None = None,
    certificate: Mapping[str, str] | None = None,
    ports: frozenset[int] = frozenset(),
) -> TenantContext:
    """
    The tenant for the length of a run, with its receipt in the run's report.

    + passwords, certificate, ports: see TenantContext
    """
    receipt = current_report().receipts.setdefault(tenant.name, Receipt(verb, tenant.name, tenant.rings, tenant.port))
    return TenantContext(
        tenant,
        tenant_probe(tenant),
        receipt=receipt,
        passwords=passwords,
        certificate=certificate,
        ports=ports,
    )


def tenant_probe(tenant: Tenant) -> str:
    """The tenant's probe, with the ledger and the verify files of its components in it."""
    return probe_sql(tenant, ledger.heads_script(), findings_sql(tenant))
