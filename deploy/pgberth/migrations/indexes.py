"""An index that is there and valid, whatever an earlier run left behind."""

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
    Build the index unless it is there and valid; True if it was built.

    A build that was killed leaves an INVALID index, which every `IF NOT EXISTS` takes for success: it is dropped first.
    A table with rows is indexed CONCURRENTLY. An empty one is not: that would gain nothing, and wait for every snapshot
    that anybody holds.

    The session is in autocommit mode, outside a transaction. Raises Refused, or the server's error.
    """
    built = retried(connection, index.schema, lambda: _build(connection, index, retry), retry)
    if state(connection, index) != "valid":
        fact = f"index {index.schema}.{index.name} is not valid after it was built"
        raise Refused.because(fact, "Run again: it is dropped and built anew.")
    return built


def state(connection: Connection, index: IndexStatement) -> IndexState:
    """Whether an index of that name is on that table. Raises Refused where the name is taken by something else."""
    found = connection.execute(read_sql("migrations/index-state.sql"), [index.schema, index.name]).fetchone()
    if found is None:
        return "absent"
    usable, table = found
    if table != index.table:
        fact = f"{index.schema}.{index.name} exists, and is no index on {index.schema}.{index.table}"
        raise Refused.because(fact, "Find out whose it is, and rename or drop it.")
    return "valid" if usable else "invalid"


def _build(connection: Connection, index: IndexStatement, retry: RetryPolicy) -> bool:
    found = state(connection, index)
    if found == "valid":
        return False
    if found == "invalid":
        name = sql.Identifier(index.schema, index.name)
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))
    if has_rows(connection, index):
        # No lock_timeout: it would also end the wait for older snapshots, and leave an invalid index each time.
        connection.execute(index.create(concurrently=True), prepare=False)
    else:
        with connection.transaction():
            limit_table_locks(connection, retry)
            connection.execute(index.create(concurrently=False), prepare=False)
    return True


def limit_table_locks(connection: Connection, retry: RetryPolicy) -> None:
    """Give up soon on each table lock, until the end of the transaction: whoever comes later queues behind us."""
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{retry.table_lock_ms}ms"])


def has_rows(connection: Connection, index: IndexStatement) -> bool:
    """Whether there is anything to index. The table is there."""
    table = sql.Identifier(index.schema, index.table)
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    return bool(row and row[0])
