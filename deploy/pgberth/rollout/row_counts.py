"""Counts a tenant's rows, for the record before and after an interruption."""

from __future__ import annotations

import psycopg
from psycopg import sql

from pgberth import commands
from pgberth.container.context import TenantContext
from pgberth.database.session import connect, reached
from pgberth.model.roles import PASSWORD_KINDS, SUITE

# A table that takes too long to count is left out: the run must not wait for it.
_OPTIONS = "-cstatement_timeout=10s -clock_timeout=3s"


def rows(context: TenantContext) -> dict[str, int]:
    """Table -> rows, of every table that the app may read. Raises psycopg.Error where it cannot log in."""
    counts: dict[str, int] = {}
    tables = commands.script("rollout/readable-tables.sql").encode()
    components = list(context.tenant.ordered_components)
    with (
        reached(context.port) as address,
        connect(address, SUITE, context.secret(PASSWORD_KINDS[SUITE]), options=_OPTIONS) as session,
    ):
        for schema, table in session.execute(tables, [components]).fetchall():
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
            try:
                counted = session.execute(query).fetchone()
            except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
                continue
            counts[f"{schema}.{table}"] = counted[0] if counted else 0
    return counts
