"""Make sure that an index exists and is valid, whatever an earlier run left behind."""

from __future__ import annotations

from typing import Literal

from psycopg import sql

from pgberth.migrations.ledger import Connection
from pgberth.migrations.session import RetryPolicy, retried
from pgberth.migrations.statements import IndexStatement
from pgberth.model.problems import Refused
from pgberth.rendering.sql import read_sql

IndexState = Literal["absent", "invalid", "valid"]


def ensure(connection: Connection, index: IndexStatement, retry: RetryPolicy) -> bool:
    """
    Build the index unless it exists and is valid. Returns True if it was built.

    A killed build leaves an INVALID index, which `IF NOT EXISTS` would accept: it is dropped first. A table with rows
    is indexed CONCURRENTLY. An empty table is not: CONCURRENTLY would gain nothing there, and would wait for every
    snapshot that any session holds.

    The session must be in autocommit mode, outside a transaction. Raises Refused, or the server's error.
    """
    built = retried(connection, index.schema, lambda: _build(connection, index, retry), retry)
    if state(connection, index) != "valid":
        fact = f"index {index.schema}.{index.name} is not valid after it was built"
        raise Refused.because(fact, "Run again: the index is dropped and built again.")
    return built


def state(connection: Connection, index: IndexStatement) -> IndexState:
    """The state of the index of that name on that table. Raises Refused if something else has the name."""
    found = connection.execute(read_sql("migrations/index-state.sql"), [index.schema, index.name]).fetchone()
    if found is None:
        return "absent"
    usable, table = found
    if table != index.table:
        fact = f"{index.schema}.{index.name} exists, and is not an index on {index.schema}.{index.table}"
        raise Refused.because(fact, "Find out who made it, and rename or drop it.")
    return "valid" if usable else "invalid"


def _build(connection: Connection, index: IndexStatement, retry: RetryPolicy) -> bool:
    found = state(connection, index)
    if found == "valid":
        return False
    if found == "invalid":
        name = sql.Identifier(index.schema, index.name)
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))
    with connection.transaction():
        limit_table_locks(connection, retry)
        filled = has_rows(connection, index)
    if filled:
        _build_concurrently(connection, index, retry)
    else:
        with connection.transaction():
            limit_table_locks(connection, retry)
            connection.execute(index.create(concurrently=False), prepare=False)
    return True


def _build_concurrently(connection: Connection, index: IndexStatement, retry: RetryPolicy) -> None:
    with connection.transaction():
        limit_table_locks(connection, retry)
        # The lock that the build takes first. A table that somebody keeps locked is noticed here.
        table = sql.Identifier(index.schema, index.table)
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE").format(table))
    # Then no lock_timeout: it would also end the wait for older snapshots, and each time leave an invalid index.
    row = connection.execute("SHOW lock_timeout").fetchone()
    connection.execute("SET lock_timeout = 0")
    connection.execute(index.create(concurrently=True), prepare=False)
    connection.execute("SELECT set_config('lock_timeout', %s, false)", row)


def limit_table_locks(connection: Connection, retry: RetryPolicy) -> None:
    """Give up soon on each table lock, until the transaction ends: sessions that come later queue behind this one."""
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{retry.table_lock_ms}ms"])


def has_rows(connection: Connection, index: IndexStatement) -> bool:
    """Whether the table has a row to index. It must exist."""
    table = sql.Identifier(index.schema, index.table)
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    return bool(row and row[0])
