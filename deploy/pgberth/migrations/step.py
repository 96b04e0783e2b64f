"""Migrations, up or down, together with their ledger rows: both are there afterwards, or neither is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import psycopg

from pgberth.migrations import indexes, ledger
from pgberth.migrations.ledger import Connection, Head
from pgberth.migrations.session import RETRYABLE, RetryPolicy, retried
from pgberth.migrations.source import Migration
from pgberth.migrations.statements import index_statement, split
from pgberth.migrations.verify import findings
from pgberth.model.killpoint import killpoint
from pgberth.model.problems import Problem, Refused

Observe = Callable[[Connection, Migration], None]

# duplicate schema, table (or index), object, function, column: it is there, and not by us
_EXISTS = {"42P06", "42P07", "42710", "42723", "42701"}


def transaction_groups(steps: Iterable[Migration]) -> Iterator[tuple[Migration, ...]]:
    """
    What is applied as a whole: each version, and all repeatables together.

    Together, since one of them may take a right that the next one gives: nobody is to see the moment between.
    """
    steps = tuple(steps)
    yield from ((step,) for step in steps if step.kind == "versioned")
    repeatables = tuple(step for step in steps if step.kind == "repeatable")
    if repeatables:
        yield repeatables


def go_up(connection: Connection, group: tuple[Migration, ...], retry: RetryPolicy, observe: Observe | None) -> None:
    """
    Apply one unit and verify it.

    + observe: called after each body, inside its transaction where it has one

    A transactional one is there as a whole or not at all. Another is `started` in the ledger until it is done; the next
    run takes it up again. Raises Refused, and records the failure.
    """
    with failures_told(connection, group[0], "up"):
        if group[0].transactional:
            _in_transaction(connection, group, retry, observe)
        else:
            _by_statement(connection, group[0], retry, observe)
    for migration in group:
        killpoint(f"migrate.{migration.component}.{migration.version}.applied")


def go_down(connection: Connection, migration: Migration, gone: tuple[Head, ...], retry: RetryPolicy) -> None:
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
            indexes.limit_table_locks(connection, retry)
            _execute(connection, migration, migration.down)
            killpoint(f"migrate.{migration.component}.{migration.version}.undone")

    with failures_told(connection, migration, "down"):
        retried(connection, migration.component, work, retry)
    killpoint(f"migrate.{migration.component}.{migration.version}.reverted")


def _in_transaction(
    connection: Connection, group: tuple[Migration, ...], retry: RetryPolicy, observe: Observe | None
) -> None:
    def work() -> None:
        with connection.transaction():
            indexes.limit_table_locks(connection, retry)
            taken = [_run(connection, migration, observe) for migration in group]
            _verify(connection, group)
            for migration, duration_ms in zip(group, taken, strict=True):
                ledger.record(connection, migration, "applied", duration_ms=duration_ms)

    retried(connection, group[0].component, work, retry)


def _run(connection: Connection, migration: Migration, observe: Observe | None) -> int:
    began = time.monotonic()
    _record_started(connection, migration)
    _execute(connection, migration, migration.up)
    _told_ran(connection, migration, observe)
    return _since(began)


def _by_statement(connection: Connection, migration: Migration, retry: RetryPolicy, observe: Observe | None) -> None:
    began = time.monotonic()
    _record_started(connection, migration)
    for statement in split(migration.up):
        index = index_statement(statement)
        if index is not None:
            indexes.ensure(connection, index, retry)
        else:
            run = partial(_execute, connection, migration, statement.text, statement.line)
            retried(connection, migration.component, run, retry)
    _told_ran(connection, migration, observe)
    _verify(connection, (migration,))
    ledger.record(connection, migration, "applied", duration_ms=_since(began))


def _record_started(connection: Connection, migration: Migration) -> None:
    # The ledger's row comes first, so that two runners collide there before either has done anything.
    ledger.record(connection, migration, "started", with_body=not migration.transactional)
    killpoint(f"migrate.{migration.component}.{migration.version}.started")


def _told_ran(connection: Connection, migration: Migration, observe: Observe | None) -> None:
    killpoint(f"migrate.{migration.component}.{migration.version}.ran")
    if observe is not None:
        observe(connection, migration)


def _verify(connection: Connection, group: tuple[Migration, ...]) -> None:
    wrong = findings(connection, group)
    if wrong:
        hint = "The file did not do what its verify file expects; one of the two is wrong."
        raise Refused(Problem(str(finding), hint) for finding in wrong)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


class _Failed(Exception):
    """The server's error in a file of ours, with the line that it points to."""

    def __init__(self, migration: Migration, wrong: psycopg.Error, line: int | None):
        super().__init__(str(wrong))
        self.migration, self.wrong, self.line = migration, wrong, line


def _execute(connection: Connection, migration: Migration, text: str, first_line: int = 1) -> None:
    try:
        connection.execute(text.encode(), prepare=False)
    except RETRYABLE:
        raise
    except psycopg.Error as wrong:
        position = int(wrong.diag.statement_position or 0)
        line = first_line + text.count("\n", 0, position - 1) if position else None
        raise _Failed(migration, wrong, line) from wrong


@contextlib.contextmanager
def failures_told(connection: Connection, migration: Migration, twin: str) -> Iterator[None]:
    """The server's errors inside, as Refused, and every refusal in the ledger."""
    try:
        yield
    except Refused as refused:
        _record_failure(connection, migration, "; ".join(problem.fact for problem in refused.problems))
        raise
    except _Failed as failed:
        raise _refusal(connection, failed.migration, failed.wrong, twin, failed.line) from failed.wrong
    except psycopg.Error as wrong:
        raise _refusal(connection, migration, wrong, twin, None) from wrong


def _refusal(
    connection: Connection, migration: Migration, wrong: psycopg.Error, twin: str, line: int | None
) -> Refused:
    # The primary message only: the detail of a refused row holds the row.
    said = " ".join((wrong.diag.message_primary or str(wrong)).split())
    _record_failure(connection, migration, f"{wrong.sqlstate} {said}")
    place = f" (line {line} of its {twin} file, rendered)" if line else ""
    hint = wrong.diag.message_hint or _hint(connection, migration, wrong)
    return Refused.because(f"{migration.title}: {said}{place}", hint)


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
