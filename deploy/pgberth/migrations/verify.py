"""Whether what was applied is still there: the verify files as one query, over the catalogue only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from pgberth.migrations.ledger import Connection
from pgberth.migrations.source import Migration
from pgberth.model.problems import visible

REPAIRABLE = frozenset({"index", "function", "trigger", "grant"})


@dataclass(frozen=True)
class Finding:
    """
    One thing that is not as its migration left it.

    + kind: schema, table, column, constraint, type, index, function, trigger, grant, extension, comment
    + object: qualified name
    + problem: "is missing", "has type text, wanted uuid", ...
    """

    component: str
    version: str
    kind: str
    object: str
    problem: str

    def __str__(self) -> str:
        said = f"{self.component} {self.version}: {self.kind} {self.object} {self.problem}"
        return visible(said, one_line=True)


def verify_sql(migrations: Iterable[Migration]) -> str:
    """
    One SELECT with the text columns component, version, kind, object, problem: no row where all is in order.

    It reads the catalogue only, and may stand as a subquery: `FROM (<this>) AS found`. For memory_owner or a superuser:
    looking a name up (`to_regclass`) wants a right on its schema.
    """
    parts = [
        f"SELECT {_literal(migration.component)}::text AS component, {_literal(migration.version)}::text AS version,"  # noqa: S608 - our own files
        f" kind::text, object::text, problem::text\n  FROM (\n{migration.verify}\n) AS found (kind, object, problem)"
        for migration in migrations
    ]
    nothing = "SELECT ''::text AS component, ''::text AS version, ''::text AS kind, ''::text AS object,"
    return "\nUNION ALL\n".join(parts) or f"{nothing} ''::text AS problem WHERE false"


def findings(connection: Connection, migrations: Iterable[Migration]) -> tuple[Finding, ...]:
    """What is not in order of these migrations."""
    with connection.cursor(row_factory=class_row(Finding)) as cursor:
        return tuple(cursor.execute(verify_sql(migrations).encode(), prepare=False))


def _literal(value: str) -> str:
    return sql.Literal(value).as_string(None)
