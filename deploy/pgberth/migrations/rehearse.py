"""
A migration tried out on a schema-only copy of the live database: its SQL, its locks, and what it changes.

The copy is made by SCRATCH_SCRIPT beside the live database, in the same server, and dropped by DROP_SCRIPT. The live
database is only read.
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
from pgberth.migrations.runner import apply, application
from pgberth.migrations.session import Connect, Patience, become_owner, opened
from pgberth.migrations.source import SQL_ROOT, Migration, Parameters
from pgberth.migrations.statements import index_statement, split
from pgberth.model.problems import Problem, Refused

SCRATCH = "memory_rehearsal"

# POSIX sh, run as the superuser beside the server (`podman exec -i ... sh -s`). The dump goes through a file: in a pipe,
# a pg_dump that fails would go unnoticed.
DROP_SCRIPT = f"psql -X -q -v ON_ERROR_STOP=1 -d postgres -c 'DROP DATABASE IF EXISTS {SCRATCH} WITH (FORCE)'\n"
SCRATCH_SCRIPT = f"""set -eu
dump=$(mktemp)
trap 'rm -f "$dump"' EXIT
pg_dump --schema-only --file="$dump" "${{1:-memory}}"
{DROP_SCRIPT}psql -X -q -v ON_ERROR_STOP=1 -d postgres <<'SQL'
CREATE DATABASE {SCRATCH} TEMPLATE template0 OWNER memory_owner;
REVOKE ALL ON DATABASE {SCRATCH} FROM PUBLIC;
GRANT CONNECT ON DATABASE {SCRATCH} TO memory_migrator;
SQL
psql -X -q -v ON_ERROR_STOP=1 --single-transaction -d {SCRATCH} -f "$dump" >/dev/null
"""


@dataclass(frozen=True, order=True)
class TableLock:
    """+ mode: as pg_locks has it, "AccessExclusiveLock"; of a table that was there before the step"""

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
    What a migration would do.

    + differences: of the catalogue, after against before: "is not wanted" reads as "is added", so see `changes`
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
    patience: Patience = Patience(),  # noqa: B008 - frozen
) -> Rehearsal:
    """
    Apply the component's pending steps to the copy, and tell what came of it.

    + live, scratch: give sessions as memory_migrator with the live database and with its copy

    Raises Refused as `apply` does, and where the copy is not the live schema.
    """
    name = application("rehearse")
    with opened(live, name) as original, opened(scratch, name) as copy, opened(scratch, name) as witness:
        for session in (original, copy, witness):
            become_owner(session)
        before = snapshot(copy, [component])
        _refuse_other(component, differences(snapshot(original, [component]), before))
        _copy_ledger(original, copy)
        watch = _Watch(original, witness)
        outcome = apply(scratch, component, parameters, to=to, root=root, patience=patience, observe=watch.step)
        steps = tuple(Rehearsed(migration, watch.locks[migration.version]) for migration in outcome.done)
        return Rehearsal(component, steps, _changes(before, snapshot(copy, [component])), outcome.waiting)
