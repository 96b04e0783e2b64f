"""One migration, up or down, together with its ledger rows: both are there afterwards, or neither is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

import psycopg

from pgberth.migrations import indexes, ledger
from pgberth.migrations.ledger import Connection, Head
from pgberth.migrations.session import RETRYABLE, Patience, retried
from pgberth.migrations.source import Migration
from pgberth.migrations.statements import index_statement, split
from pgberth.migrations.verify import findings
from pgberth.model.killpoint import killpoint
from pgberth.model.problems import Problem, Refused

Observe = Callable[[Connection, Migration], None]

# duplicate schema, table (or index), object, function, column: it is there, and not by us
_EXISTS = {"42P06", "42P07", "42710", "42723", "42701"}


def go_up(connection: Connection, migration: Migration, patience: Patience, observe: Observe | None = None) -> None:
    """
    Apply one migration and verify it.

    + observe: called after the body, inside its transaction where it has one

    A transactional one is there as a whole or not at all. Another is `started` in the ledger until it is done; the next
    run takes it up again. Raises Refused, and records the failure.
    """
    how = _in_transaction if migration.transactional else _by_statement
    with failures_told(connection, migration, "up"):
        how(connection, migration, patience, observe)
    killpoint(f"migrate.{migration.component}.{migration.version}.applied")


def go_down(connection: Connection, migration: Migration, gone: tuple[Head, ...], patience: Patience) -> None:
    """
    Revert one migration, in one transaction.

    + gone: repeatables and code steps that go with it, recorded as reverted too

    Raises Refused, and records the failure; then nothing has changed.
    """

    def work() -> None:
        with connection.transaction():
            ledger.record(connection, migration, "reverted")
            for head in gone:
                ledger.record(connection, head, "reverted")
            indexes.limit_table_locks(connection, patience)
            _execute(connection, migration.down)
            killpoint(f"migrate.{migration.component}.{migration.version}.undone")

    with failures_told(connection, migration, "down"):
        retried(connection, migration.component, work, patience)
    killpoint(f"migrate.{migration.component}.{migration.version}.reverted")


def _in_transaction(connection: Connection, migration: Migration, patience: Patience, observe: Observe | None) -> None:
    def work() -> None:
        began = time.monotonic()
        with connection.transaction():
            _record_started(connection, migration)
            indexes.limit_table_locks(connection, patience)
            _execute(connection, migration.up)
            _finish(connection, migration, began, observe)

    retried(connection, migration.component, work, patience)


def _by_statement(connection: Connection, migration: Migration, patience: Patience, observe: Observe | None) -> None:
    began = time.monotonic()
    _record_started(connection, migration)
    for statement in split(migration.up):
        index = index_statement(statement)
        if index is not None:
            indexes.ensure(connection, index, patience)
        else:
            run = partial(_execute, connection, statement.text, statement.line)
            retried(connection, migration.component, run, patience)
    _finish(connection, migration, began, observe)


def _record_started(connection: Connection, migration: Migration) -> None:
    ledger.record(connection, migration, "started", with_body=not migration.transactional)
    killpoint(f"migrate.{migration.component}.{migration.version}.started")


def _finish(connection: Connection, migration: Migration, began: float, observe: Observe | None) -> None:
    killpoint(f"migrate.{migration.component}.{migration.version}.ran")
    wrong = findings(connection, [migration])
    if wrong:
        hint = "The file did not do what its verify file expects; one of the two is wrong."
        raise Refused(Problem(str(finding), hint) for finding in wrong)
    if observe is not None:
        observe(connection, migration)
    ledger.record(connection, migration, "applied", duration_ms=round((time.monotonic() - began) * 1000))


class _Failed(Exception):
    """The server's error in a file of ours, with the line that it points to."""

    def __init__(self, wrong: psycopg.Error, line: int | None):
        super().__init__(str(wrong))
        self.wrong, self.line = wrong, line


def _execute(connection: Connection, text: str, first_line: int = 1) -> None:
    try:
        connection.execute(text.encode(), prepare=False)
    except RETRYABLE:
        raise
    except psycopg.Error as wrong:
        position = int(wrong.diag.statement_position or 0)
        line = first_line + text.count("\n", 0, position - 1) if position else None
        raise _Failed(wrong, line) from wrong


@contextlib.contextmanager
def failures_told(connection: Connection, migration: Migration, twin: str) -> Iterator[None]:
    """The server's errors inside, as Refused, and every refusal in the ledger."""
    try:
        yield
    except Refused as refused:
        _record_failure(connection, migration, "; ".join(problem.fact for problem in refused.problems))
        raise
    except (_Failed, psycopg.Error) as failed:
        wrong, line = (failed.wrong, failed.line) if isinstance(failed, _Failed) else (failed, None)
        # The primary message only: the detail of a refused row holds the row.
        said = " ".join((wrong.diag.message_primary or str(wrong)).split())
        _record_failure(connection, migration, f"{wrong.sqlstate} {said}")
        place = f" (line {line} of its {twin} file, rendered)" if line else ""
        hint = wrong.diag.message_hint or _hint(connection, migration, wrong)
        raise Refused.because(f"{migration.title}: {said}{place}", hint) from wrong


def _record_failure(connection: Connection, migration: Migration, note: str) -> None:
    if connection.broken or connection.closed:
        return
    with contextlib.suppress(psycopg.Error):  # the failure itself is what has to be told
        ledger.record(connection, migration, "failed", note=note)


def _hint(connection: Connection, migration: Migration, wrong: psycopg.Error) -> str:
    if connection.broken or connection.closed:
        return "The session is gone. Run again: it goes on where this run stopped."
    if wrong.sqlstate not in _EXISTS:
        return "Nothing of this step is left behind; the steps before it are done."
    different = findings(connection, [migration])
    told = "\n".join(str(finding) for finding in different) or "It is just as this migration would make it."
    return f"It exists, and the ledger does not know it; pgberth takes over nothing that it did not make.\n{told}"
