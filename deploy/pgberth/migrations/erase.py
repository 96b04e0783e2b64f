"""
The one sanctioned way past append-only: every row of one subject goes, and a tombstone says so.

As the owner, in one transaction under the component's lock: the named triggers are disabled, the rows deleted, the
triggers enabled ALWAYS again and looked at. Whatever fails leaves everything as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from psycopg import errors, sql
from psycopg.types.json import Jsonb

from pgberth.migrations.indexes import limit_table_locks
from pgberth.migrations.ledger import Connection
from pgberth.migrations.runner import running
from pgberth.migrations.session import Connect, RetryPolicy, retried
from pgberth.model.problems import Problem, Refused
from pgberth.rendering.sql import read_sql

TRIGGERS = ("append_only", "append_only_row")


@dataclass(frozen=True)
class Kind:
    """
    What belongs to a subject.

    + history: append-only (table, column that names the subject), children first
    + derived: the same for tables that are no history, and may not be there
    + parent: the subject's own table, keyed by id; its row goes last
    + kept_by: a query for other subjects whose history refers to it
    """

    component: str
    parent: str
    history: tuple[tuple[str, str], ...]
    derived: tuple[tuple[str, str], ...] = ()
    kept_by: str = ""


KINDS: Mapping[str, Kind] = {
    "task_run": Kind(
        "control_plane",
        "task_run",
        (("memory_procedure_event", "task_run_id"), ("task_checkpoint", "task_run_id")),
        kept_by="migrations/procedures-from-task-run.sql",
    ),
    "memory_procedure": Kind(
        "control_plane",
        "memory_procedure",
        (("memory_procedure_event", "procedure_id"), ("memory_procedure_version", "procedure_id")),
        derived=(("memory_procedure_embedding", "procedure_id"),),
        kept_by="migrations/procedures-from-procedure.sql",
    ),
    "knowledge_node": Kind(
        "knowledge",
        "knowledge_nodes",
        (("review_events", "memory_id"),),
        derived=(("scheduling", "memory_id"), ("edges", "source_id"), ("edges", "target_id")),
    ),
}


@dataclass(frozen=True)
class Erasure:
    """
    What is to go, and why.

    + kind: a key of KINDS
    """

    kind: str
    id: UUID
    reason: str

    @property
    def subject(self) -> str:
        return f"{self.kind}:{self.id}"


def erasure_from(given: Mapping[str, str]) -> Erasure:
    """The erasure --data asks for, as typed. Raises Refused with everything that is wrong."""
    kind, _, identity = given.get("subject", "").partition(":")
    problems = []
    if kind not in KINDS:
        fact = f"--data subject: {kind!r} is no kind of subject"
        problems.append(Problem(fact, f"one of {', '.join(KINDS)}; {_FORM}"))
    try:
        parsed = UUID(identity)
    except ValueError:
        parsed = UUID(int=0)
        problems.append(Problem(f"--data subject: {identity!r} is no UUID", _FORM))
    if not given.get("reason", "").strip():
        problems.append(Problem("--data reason is missing", "it stands in the tombstone; " + _FORM))
    if problems:
        raise Refused(problems)
    return Erasure(kind, parsed, given["reason"].strip())


_FORM = "say --data subject=KIND:UUID --data reason=TEXT --data tenant=NAME"


def erase(connect: Connect, desired: Erasure, retry: RetryPolicy = RetryPolicy()) -> dict[str, int]:  # noqa: B008 - frozen
    """
    Erase the subject; rows deleted, by table.

    Raises Refused where there is nothing of it, where rows that stay refer to what would go, where a trigger is not as
    it should be, and where others hold the tables for too long.
    """
    kind = KINDS[desired.kind]
    with running(connect, kind.component, retry) as connection:
        return retried(connection, kind.component, lambda: _erase(connection, kind, desired, retry), retry)


def _erase(connection: Connection, kind: Kind, desired: Erasure, retry: RetryPolicy) -> dict[str, int]:
    try:
        with connection.transaction():
            limit_table_locks(connection, retry)
            _refuse_open(connection, kind)
            _refuse_kept(connection, kind, desired)
            gone: Counter[str] = Counter()
            for table, rows in _delete(connection, kind, desired.id):
                gone[table] += rows
            if not any(gone.values()):
                raise Refused.because(f"{kind.component} has nothing of {desired.subject}", "nothing was changed")
            _refuse_open(connection, kind)
            _bury(connection, kind, desired, gone)
    except (errors.ForeignKeyViolation, errors.RestrictViolation) as kept:
        fact = f"{desired.subject} is referred to by rows that stay: {kept.diag.message_primary}"
        raise Refused.because(fact, "nothing was changed; erase what refers to it first") from kept
    return dict(gone)


def _refuse_kept(connection: Connection, kind: Kind, desired: Erasure) -> None:
    if not kind.kept_by:
        return
    others = [other for (other,) in connection.execute(read_sql(kind.kept_by), {"id": desired.id})]
    if others:
        fact = f"{desired.subject} is referred to by the history of {', '.join(others)}"
        raise Refused.because(fact, "nothing was changed; erase what refers to it first")


def _delete(connection: Connection, kind: Kind, identity: UUID) -> Iterator[tuple[str, int]]:
    for table, column in kind.derived:
        if connection.execute("SELECT to_regclass(%s)", [f"{kind.component}.{table}"]).fetchone() != (None,):
            yield table, _rows(connection, kind, table, column, identity)
    for table, column in kind.history:
        for trigger in TRIGGERS:
            _alter(connection, kind, table, "DISABLE TRIGGER", trigger)
        yield table, _rows(connection, kind, table, column, identity)
        for trigger in TRIGGERS:
            _alter(connection, kind, table, "ENABLE ALWAYS TRIGGER", trigger)
    yield kind.parent, _rows(connection, kind, kind.parent, "id", identity)


def _rows(connection: Connection, kind: Kind, table: str, column: str, identity: UUID) -> int:
    statement = sql.SQL("DELETE FROM {} WHERE {} = %s").format(
        sql.Identifier(kind.component, table), sql.Identifier(column)
    )
    return connection.execute(statement, [identity]).rowcount


def _alter(connection: Connection, kind: Kind, table: str, how: str, trigger: str) -> None:
    words = sql.SQL("ENABLE ALWAYS TRIGGER" if how.startswith("ENABLE") else "DISABLE TRIGGER")
    name = sql.Identifier(kind.component, table)
    connection.execute(sql.SQL("ALTER TABLE {} {} {}").format(name, words, sql.Identifier(trigger)))


def _refuse_open(connection: Connection, kind: Kind) -> None:
    """Both triggers of every table of the subject fire always, or nothing of this happened."""
    tables = [f"{kind.component}.{table}" for table, _ in kind.history]
    row = connection.execute(read_sql("migrations/count-always-triggers.sql"), [tables, list(TRIGGERS)]).fetchone()
    if row != (len(TRIGGERS) * len(tables),):
        raise Refused.because(f"{kind.component}: a trigger of {', '.join(tables)} is not as it should be", _REPAIR)


_REPAIR = "nothing was changed; run deploy/provision.py, which puts triggers right, then try again"


def _bury(connection: Connection, kind: Kind, desired: Erasure, gone: Mapping[str, int]) -> None:
    insert = "INSERT INTO memory_ledger.tombstone (component, subject, deleted, reason) VALUES (%s, %s, %s, %s)"
    connection.execute(insert, [kind.component, desired.subject, Jsonb(dict(gone)), desired.reason])
