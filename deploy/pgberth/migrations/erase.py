"""
The only allowed exception to append-only: delete every row of one subject, and record a tombstone.

It runs as the owner, in one transaction, under the component's lock. It disables the named triggers, deletes the rows,
enables the triggers ALWAYS again, and checks them. After any failure everything is as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import LiteralString
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
class ErasableSubject:
    """
    The tables that hold rows of one kind of subject.

    + history: (table, column that names the subject) of the append-only tables, children first
    + derived: the same for tables that are not append-only; they may be missing
    + parent: the subject's own table, keyed by id; its row is deleted last
    + kept_by: a file below templates/ with the query for other subjects whose history refers to this one
    """

    component: str
    parent: str
    history: tuple[tuple[str, str], ...]
    derived: tuple[tuple[str, str], ...] = ()
    kept_by: str = ""


SUBJECTS: Mapping[str, ErasableSubject] = {
    "task_run": ErasableSubject(
        "control_plane",
        "task_run",
        (("memory_procedure_event", "task_run_id"), ("task_checkpoint", "task_run_id")),
        kept_by="migrations/procedures-from-task-run.sql",
    ),
    "memory_procedure": ErasableSubject(
        "control_plane",
        "memory_procedure",
        (("memory_procedure_event", "procedure_id"), ("memory_procedure_version", "procedure_id")),
        derived=(("memory_procedure_embedding", "procedure_id"),),
        kept_by="migrations/procedures-from-procedure.sql",
    ),
    "knowledge_node": ErasableSubject(
        "knowledge",
        "knowledge_nodes",
        (("review_events", "memory_id"),),
        derived=(("scheduling", "memory_id"), ("edges", "source_id"), ("edges", "target_id")),
    ),
}


@dataclass(frozen=True)
class Erasure:
    """
    What to delete, and why.

    + kind: a key of SUBJECTS
    """

    kind: str
    id: UUID
    reason: str

    @property
    def subject(self) -> str:
        return f"{self.kind}:{self.id}"


def erasure_from(data: Mapping[str, str]) -> Erasure:
    """The erasure that --data asks for. Raises Refused with every mistake."""
    kind, _, identity = data.get("subject", "").partition(":")
    problems = []
    if kind not in SUBJECTS:
        fact = f"--data subject: {kind!r} is not a kind of subject"
        problems.append(Problem(fact, f"one of {', '.join(SUBJECTS)}; {_FORM}"))
    try:
        parsed = UUID(identity)
    except ValueError:
        parsed = UUID(int=0)
        problems.append(Problem(f"--data subject: {identity!r} is not a UUID", _FORM))
    if not data.get("reason", "").strip():
        problems.append(Problem("--data reason is missing", "the tombstone records it; " + _FORM))
    if problems:
        raise Refused(problems)
    return Erasure(kind, parsed, data["reason"].strip())


_FORM = "say --data subject=KIND:UUID --data reason=TEXT --data tenant=NAME"


def erase(connect: Connect, erasure: Erasure, retry: RetryPolicy = RetryPolicy()) -> dict[str, int]:  # noqa: B008 - frozen
    """
    Erase the subject. Returns the number of deleted rows, by table.

    Raises Refused if there is no row of it, if rows that stay refer to it, if a trigger is not as it should be, or if
    other sessions lock the tables for too long.
    """
    kind = SUBJECTS[erasure.kind]
    with running(connect, kind.component, retry) as connection:
        return retried(connection, kind.component, lambda: _erase(connection, kind, erasure, retry), retry)


def _erase(connection: Connection, kind: ErasableSubject, erasure: Erasure, retry: RetryPolicy) -> dict[str, int]:
    try:
        with connection.transaction():
            limit_table_locks(connection, retry)
            _require_triggers(connection, kind)
            _refuse_referenced(connection, kind, erasure)
            deleted: Counter[str] = Counter()
            for table, rows in _delete(connection, kind, erasure.id):
                deleted[table] += rows
            if not any(deleted.values()):
                raise Refused.because(f"{kind.component} has nothing of {erasure.subject}", "nothing was changed")
            _require_triggers(connection, kind)
            _record_tombstone(connection, kind, erasure, deleted)
    except (errors.ForeignKeyViolation, errors.RestrictViolation) as kept:
        fact = f"{erasure.subject} is referred to by rows that stay: {kept.diag.message_primary}"
        raise Refused.because(fact, "nothing was changed; erase what refers to it first") from kept
    return dict(deleted)


def _refuse_referenced(connection: Connection, kind: ErasableSubject, erasure: Erasure) -> None:
    if not kind.kept_by:
        return
    others = [other for (other,) in connection.execute(read_sql(kind.kept_by), {"id": erasure.id})]
    if others:
        fact = f"{erasure.subject} is referred to by the history of {', '.join(others)}"
        raise Refused.because(fact, "nothing was changed; erase what refers to it first")


def _delete(connection: Connection, kind: ErasableSubject, identity: UUID) -> Iterator[tuple[str, int]]:
    for table, column in kind.derived:
        if connection.execute("SELECT to_regclass(%s)", [f"{kind.component}.{table}"]).fetchone() != (None,):
            yield table, _delete_rows(connection, kind, table, column, identity)
    for table, column in kind.history:
        for trigger in TRIGGERS:
            _alter(connection, kind, table, "DISABLE TRIGGER", trigger)
        yield table, _delete_rows(connection, kind, table, column, identity)
        for trigger in TRIGGERS:
            _alter(connection, kind, table, "ENABLE ALWAYS TRIGGER", trigger)
    yield kind.parent, _delete_rows(connection, kind, kind.parent, "id", identity)


def _delete_rows(connection: Connection, kind: ErasableSubject, table: str, column: str, identity: UUID) -> int:
    statement = sql.SQL("DELETE FROM {} WHERE {} = %s").format(
        sql.Identifier(kind.component, table), sql.Identifier(column)
    )
    return connection.execute(statement, [identity]).rowcount


def _alter(connection: Connection, kind: ErasableSubject, table: str, how: LiteralString, trigger: str) -> None:
    name = sql.Identifier(kind.component, table)
    connection.execute(sql.SQL("ALTER TABLE {} {} {}").format(name, sql.SQL(how), sql.Identifier(trigger)))


def _require_triggers(connection: Connection, kind: ErasableSubject) -> None:
    """Refuse, and so roll back, unless both triggers of every append-only table of the subject fire always."""
    tables = [f"{kind.component}.{table}" for table, _ in kind.history]
    row = connection.execute(read_sql("migrations/count-always-triggers.sql"), [tables, list(TRIGGERS)]).fetchone()
    if row != (len(TRIGGERS) * len(tables),):
        raise Refused.because(f"{kind.component}: a trigger of {', '.join(tables)} is not as it should be", _REPAIR)


_REPAIR = "nothing was changed; run deploy/provision.py, which restores the triggers, then try again"


def _record_tombstone(
    connection: Connection, kind: ErasableSubject, erasure: Erasure, deleted: Mapping[str, int]
) -> None:
    insert = "INSERT INTO memory_ledger.tombstone (component, subject, deleted, reason) VALUES (%s, %s, %s, %s)"
    connection.execute(insert, [kind.component, erasure.subject, Jsonb(dict(deleted)), erasure.reason])
