"""Whether what was applied still exists: the verify files as one query, over the catalogue only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgberth.migrations.ledger import Connection
from pgberth.migrations.source import Migration
from pgberth.model.problems import visible
from pgberth.rendering.sql import literal

REPAIRABLE = frozenset({"index", "function", "trigger", "grant"})


@dataclass(frozen=True)
class SchemaFinding:
    """
    One object that is not as its migration left it.

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
        return visible(f"{self.component} {self.version}: {self.kind} {self.object} {self.problem}", one_line=True)


def verify_sql(migrations: Iterable[Migration]) -> str:
    """
    One SELECT with the text columns component, version, kind, object, problem; it returns no row if all is in order.

    It reads the catalogue only, and can be a subquery: `FROM (<this>) AS found`. It is for memory_owner or a superuser:
    looking up a name (`to_regclass`) needs a right on its schema.
    """
    parts = [
        f"SELECT {_literal(migration.component)}::text AS component, {_literal(migration.version)}::text AS version,"  # noqa: S608 - our own files
        f" kind::text, object::text, problem::text\n  FROM (\n{migration.verify}\n) AS found (kind, object, problem)"
        for migration in migrations
    ]
    nothing = "SELECT ''::text AS component, ''::text AS version, ''::text AS kind, ''::text AS object,"
    return "\nUNION ALL\n".join(parts) or f"{nothing} ''::text AS problem WHERE false"


def findings(connection: Connection, migrations: Iterable[Migration]) -> tuple[SchemaFinding, ...]:
    """What is not as these migrations left it."""
    from psycopg.rows import class_row

    with connection.cursor(row_factory=class_row(SchemaFinding)) as cursor:
        return tuple(cursor.execute(verify_sql(migrations).encode(), prepare=False))


def _literal(value: str) -> str:
    return str(literal(value))
