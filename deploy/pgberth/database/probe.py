"""One psql script that asks a server all that the rooms above want to know; model.server holds the answer."""

from __future__ import annotations

from pgberth.container.activity import activity_queries
from pgberth.database.access import access_verify_sql, comma
from pgberth.model.roles import APP_LOGINS, MONITOR
from pgberth.model.tenant import Tenant
from pgberth.rendering.sql import Sql, render


def probe_sql(tenant: Tenant, ledger_sql: str, findings_sql: str) -> str:
    """
    The probe for this tenant, as a psql script whose output is a JSON object on each line.

    + ledger_sql: psql statements that print one JSON object on one line
    + findings_sql: one SELECT; each row becomes an object
    """
    values = {
        "access": Sql(access_verify_sql(tenant)),
        "findings": Sql(findings_sql),
        "ledger": Sql(ledger_sql),
        **activity_queries(),
        "app_logins": APP_LOGINS,
        "monitor": MONITOR,
        "comma": comma,
    }
    return render("postgres/probe.sql.j2", values)
