"""
The ledger: append-only events, one for everything that was done to a database's schemas.

Each database has one, in the schema `memory_ledger`. The view `head` shows the state of each version: its newest event,
without failures, because a failed step changes nothing. The app has no right on the ledger; the monitor may read it.
The ledger stores bodies and parameters, so a parameter must not be secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from pgberth.migrations.source import Kind, Migration, Value
from pgberth.model.problems import Refused
from pgberth.rendering.sql import read_sql, render

State = Literal["started", "applied", "reverted", "failed"]

if TYPE_CHECKING:
    import psycopg

Connection: TypeAlias = "psycopg.Connection[Any]"
SCHEMA = "memory_ledger"
COLUMNS = (
    "component", "version", "ordinal", "name", "kind", "state", "template_sha256", "rendered_sha256", "body",
    "parameters", "needs", "note", "duration_ms", "started_at", "login", "application", "runner", "server", "vector",
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """
    Where one migration stands: its newest event in the ledger.

    + body: the SQL that was applied; None if it comes from `heads_script`, which leaves bodies out
    """

    component: str
    version: str
    name: str
    kind: Kind
    state: State
    template_sha256: str
    rendered_sha256: str
    parameters: Mapping[str, Value]
    needs: tuple[str, ...] = ()
    body: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Head:
        """From one element of the list that `heads_script` prints, or from one row of the view."""
        return cls(**{**row, "needs": tuple(row["needs"])})

    @property
    def title(self) -> str:
        """ "knowledge 0001_init", for messages."""
        return f"{self.component} {self.version}" + (f"_{self.name}" if self.kind == "versioned" else "")


def heads_script() -> str:
    """
    For psql: one line, `{"ledger": [...]}`, with an object for each version; an empty list where there is no ledger.

    It fails where memory_ledger.event is not the plain table that `create` made.
    """
    return render("migrations/heads-script.sql.j2", {}) + "\n"  # \endif ends at a line end only


def heads_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Head, ...]:
    """The list that `heads_script` prints, as values."""
    return tuple(Head.of(row) for row in rows)


def exists(connection: Connection) -> bool:
    """
    Whether this database has a ledger.

    Raises Refused if a schema of that name has another owner: pgberth neither trusts it nor takes it over.
    """
    found = connection.execute(read_sql("migrations/ledger-owner.sql")).fetchone()
    if found is None:
        return False
    owner, complete = found
    if owner != "memory_owner" or not complete:
        fact = f"schema memory_ledger exists, owned by {owner}, " + ("" if complete else "without a ledger in it")
        raise Refused.because(fact.rstrip(", "), "pgberth did not make it. Find out who did, and rename or drop it.")
    return True


def create(connection: Connection) -> None:
    """Create the ledger, in one transaction. For the owner role, under the bootstrap lock."""
    with connection.transaction():
        connection.execute(read_sql("migrations/ledger.sql"), prepare=False)


def heads(connection: Connection, component: str) -> tuple[Head, ...]:
    """The state of each version of the component, with its body. Empty if there is no ledger."""
    from psycopg.rows import dict_row  # here: a run that changes nothing reads no ledger

    if not exists(connection):
        return ()
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(read_sql("migrations/heads-of-component.sql"), [component])
        return heads_of(cursor)


def record(
    connection: Connection,
    step: Migration | Head,
    state: State,
    *,
    with_body: bool = True,
    note: str | None = None,
    duration_ms: int | None = None,
) -> None:
    """
    Add one event, in the caller's transaction.

    + with_body: False if another event of the same transaction has the body
    + note: describes a failure or a repair; it must not contain a value of a row
    """
    from psycopg.types.json import Jsonb

    body = step.up if isinstance(step, Migration) else step.body or ""
    values = {
        "component": step.component,
        "version": step.version,
        "name": step.name,
        "kind": step.kind,
        "state": state,
        "template_sha256": step.template_sha256,
        "rendered_sha256": step.rendered_sha256,
        "body": body if with_body else "",
        "parameters": Jsonb(dict(step.parameters)),
        "needs": list(step.needs or ()),
        "note": note,
        "duration_ms": duration_ms,
        "runner": _runner(),
    }
    connection.execute(read_sql("migrations/record-event.sql"), cast(dict[str, Any], values))


@lru_cache
def _runner() -> str:
    return installed_version("pgberth")
