"""Apply or revert migrations together with their ledger rows: afterwards both are there, or neither is."""

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

# duplicate schema, table (or index), object, function, column: it exists, and the ledger does not know it
_EXISTS = {"42P06", "42P07", "42710", "42723", "42701"}


def transaction_groups(steps: Iterable[Migration]) -> Iterator[tuple[Migration, ...]]:
    """
    The groups that are applied as a whole: each version by itself, and all repeatables together.

    Together, because one repeatable may revoke a right that the next one grants: no session may see the state between.
    """
    steps = tuple(steps)
    yield from ((step,) for step in steps if step.kind == "versioned")
    repeatables = tuple(step for step in steps if step.kind == "repeatable")
    if repeatables:
        yield repeatables


def go_up(connection: Connection, group: tuple[Migration, ...], retry: RetryPolicy, observe: Observe | None) -> None:
    """
    Apply one group and verify it.

    + observe: called after each body, inside its transaction if it has one

    A transactional group is applied completely or not at all. Any other is `started` in the ledger until it is
    complete; the next run continues it. Raises Refused, and records the failure.
    """
    with failures_recorded(connection, group[0], "up"):
        if group[0].transactional:
            _in_transaction(connection, group, retry, observe)
        else:
            _by_statement(connection, group[0], retry, observe)
    for migration in group:
        killpoint(f"migrate.{migration.component}.{migration.version}.applied")


def go_down(connection: Connection, migration: Migration, dependents: tuple[Head, ...], retry: RetryPolicy) -> None:
    """
    Revert one migration, in one transaction.

    + dependents: repeatables and code steps that depend on it; they are recorded as reverted too

    Raises Refused, and records the failure; then nothing has changed.
    """

    def work() -> None:
        with connection.transaction():
            ledger.record(connection, migration, "reverted")
            for head in dependents:
                ledger.record(connection, head, "reverted")
            indexes.limit_table_locks(connection, retry)
            _execute(connection, migration, migration.down)
            killpoint(f"migrate.{migration.component}.{migration.version}.undone")

    with failures_recorded(connection, migration, "down"):
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
    _report_ran(connection, migration, observe)
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
    _report_ran(connection, migration, observe)
    _verify(connection, (migration,))
    ledger.record(connection, migration, "applied", duration_ms=_since(began))


def _record_started(connection: Connection, migration: Migration) -> None:
    # The ledger row comes first, so that two runners collide there before either has changed anything.
    ledger.record(connection, migration, "started", with_body=not migration.transactional)
    killpoint(f"migrate.{migration.component}.{migration.version}.started")


def _report_ran(connection: Connection, migration: Migration, observe: Observe | None) -> None:
    killpoint(f"migrate.{migration.component}.{migration.version}.ran")
    if observe is not None:
        observe(connection, migration)


def _verify(connection: Connection, group: tuple[Migration, ...]) -> None:
    wrong = findings(connection, group)
    if wrong:
        hint = "The up file did not do what its verify file expects; one of the two is wrong."
        raise Refused(Problem(str(finding), hint) for finding in wrong)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


class _Failed(Exception):
    """The server's error in a migration file, with the line that it points to."""

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
def failures_recorded(connection: Connection, migration: Migration, script: str) -> Iterator[None]:
    """Turn the server's errors into Refused, and record every refusal in the ledger."""
    try:
        yield
    except Refused as refused:
        _record_failure(connection, migration, "; ".join(problem.fact for problem in refused.problems))
        raise
    except _Failed as failed:
        raise _refusal(connection, failed.migration, failed.wrong, script, failed.line) from failed.wrong
    except psycopg.Error as wrong:
        raise _refusal(connection, migration, wrong, script, None) from wrong


def _refusal(
    connection: Connection, migration: Migration, wrong: psycopg.Error, script: str, line: int | None
) -> Refused:
    # The primary message only: the detail of a refused row contains the row.
    message = " ".join((wrong.diag.message_primary or str(wrong)).split())
    _record_failure(connection, migration, f"{wrong.sqlstate} {message}")
    place = f" (line {line} of its {script} file, rendered)" if line else ""
    hint = wrong.diag.message_hint or _hint(connection, migration, wrong)
    return Refused.because(f"{migration.title}: {message}{place}", hint)


def _record_failure(connection: Connection, migration: Migration, note: str) -> None:
    if connection.broken or connection.closed:
        return
    with contextlib.suppress(psycopg.Error):  # the caller must learn of the failure itself
        ledger.record(connection, migration, "failed", note=note)


def _hint(connection: Connection, migration: Migration, wrong: psycopg.Error) -> str:
    if connection.broken or connection.closed:
        return "The session is lost. Run again: the next run continues where this one stopped."
    if wrong.sqlstate not in _EXISTS:
        return "This step left nothing behind; the steps before it are done."
    different = findings(connection, [migration])
    details = "\n".join(str(finding) for finding in different) or "It is exactly as this migration would make it."
    return f"It exists, and the ledger does not know it; pgberth takes over nothing that it did not make.\n{details}"
