"""
Try a migration on a schema-only copy of the live database: report its SQL, its locks, and what it changes.

SCRATCH_SCRIPT makes the copy beside the live database, in the same server; DROP_SCRIPT drops it. The live database is
only read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from pgberth.migrations import ledger
from pgberth.migrations.drift import Difference, differences, snapshot
from pgberth.migrations.indexes import has_rows
from pgberth.migrations.ledger import Connection
from pgberth.migrations.plan import Waiting
from pgberth.migrations.runner import application, apply
from pgberth.migrations.session import Connect, RetryPolicy, become_owner, opened
from pgberth.migrations.source import SQL_ROOT, Migration, Parameters
from pgberth.migrations.statements import index_statement, split
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import REHEARSAL
from pgberth.rendering.sql import read_sql

SCRATCH = REHEARSAL

# POSIX sh, run as the superuser beside the server (`podman exec -i ... sh -s`); its argument is the live database.
DROP_SCRIPT = f"scratch={SCRATCH}\n{read_sql('migrations/drop-scratch.sh')}"
SCRATCH_SCRIPT = DROP_SCRIPT + read_sql("migrations/create-scratch.sh")


@dataclass(frozen=True, order=True)
class TableLock:
    """+ table: one that existed before the step; mode: as in pg_locks, "AccessExclusiveLock"."""

    table: str
    mode: str


@dataclass(frozen=True)
class Rehearsed:
    """One step as it would run: `migration.up` is its SQL."""

    migration: Migration
    locks: tuple[TableLock, ...]


@dataclass(frozen=True)
class Rehearsal:
    """
    The result of a rehearsal.

    + changes: differences of the catalogue before and after; `Difference.as_change` words each
    """

    component: str
    steps: tuple[Rehearsed, ...]
    changes: tuple[Difference, ...]
    waiting: tuple[Waiting, ...]


def rehearse(
    live: Connect,
    scratch: Connect,
    component: str,
    parameters: Parameters | None = None,
    *,
    to: str | int | None = None,
    root: Path = SQL_ROOT,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
) -> Rehearsal:
    """
    Apply the component's pending steps to the copy, and report what they did.

    + live, scratch: open sessions as memory_migrator with the live database and with its copy

    Raises Refused as `apply` does, and if the copy differs from the live schema.
    """
    name = application("rehearse")
    with opened(live, name) as original, opened(scratch, name) as copy:  # `apply` opens a third
        become_owner(original)
        become_owner(copy)
        before = snapshot(copy, [component])
        _refuse_difference(component, differences(snapshot(original, [component]), before))
        _copy_ledger(original, copy)
        watch = _Watch(original, copy)
        outcome = apply(scratch, component, parameters, to=to, root=root, retry=retry, observe=watch.step)
        steps = tuple(Rehearsed(migration, watch.locks[migration.version]) for migration in outcome.done)
        return Rehearsal(component, steps, differences(before, snapshot(copy, [component])), outcome.waiting)


def _refuse_difference(component: str, found: tuple[Difference, ...]) -> None:
    if found:
        hint = "Make a new copy; the live schema has changed since."
        raise Refused(Problem(f"{component}: the copy differs: {difference}", hint) for difference in found)


def _copy_ledger(original: Connection, copy: Connection) -> None:
    """Copy the events, which a schema-only copy lacks."""
    if not ledger.exists(original):
        return
    columns = sql.SQL(", ").join(map(sql.Identifier, ledger.COLUMNS))
    into = sql.SQL("COPY memory_ledger.event ({}) FROM STDIN").format(columns)
    out = sql.SQL("COPY (SELECT {} FROM memory_ledger.event ORDER BY id) TO STDOUT").format(columns)
    with original.cursor() as reader, copy.cursor() as writer, reader.copy(out) as rows, writer.copy(into) as target:
        for row in rows:
            target.write(row)


# From weak to strong; the strongest lock of a step on a table counts.
_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)


class _Watch:
    """Records the locks of each step while the step holds them."""

    def __init__(self, original: Connection, copy: Connection):
        self.locks: dict[str, tuple[TableLock, ...]] = {}
        self._together: set[TableLock] = set()
        self._original, self._copy = original, copy

    def step(self, connection: Connection, migration: Migration) -> None:
        """For `apply(observe=...)`."""
        held = self._observed_locks(connection) if migration.transactional else self._index_locks(migration)
        strongest: dict[str, str] = {}
        for table, mode in held:
            strongest[table] = max(mode, strongest.get(table, mode), key=_MODES.index)
        locks = {TableLock(*lock) for lock in strongest.items()}
        if migration.kind == "repeatable":  # the one transaction holds the locks of those before
            self._together, locks = self._together | locks, locks - self._together
        self.locks[migration.version] = tuple(sorted(locks))

    def _observed_locks(self, connection: Connection) -> Iterable[tuple[str, str]]:
        # Another session sees committed tables only: those that other sessions can wait for.
        known = dict(self._copy.execute(read_sql("migrations/own-tables.sql")).fetchall())
        rows = connection.execute(read_sql("migrations/own-table-locks.sql"))
        return [(known[oid], mode) for oid, mode in rows if oid in known]

    def _index_locks(self, migration: Migration) -> Iterable[tuple[str, str]]:
        """Taken from the documentation, not observed: the copy's tables are empty, and the live tables decide."""
        for statement in split(migration.up):
            index = index_statement(statement)
            if index is None:
                continue
            row = self._original.execute(
                "SELECT pg_catalog.to_regclass(%s)::text", [sql.Identifier(index.schema, index.table).as_string()]
            ).fetchone()
            if row and row[0]:
                full = has_rows(self._original, index)
                yield row[0], "ShareUpdateExclusiveLock" if full else "ShareLock"
