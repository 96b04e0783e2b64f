"""
The ledger: what was done to a database's schemas, as events that are only ever added.

It lies in the schema `memory_ledger`, one per database. The view `head` says where each version stands: its newest
event, failures left out, since a failed step leaves what was there before it. The app has no right on any of it; the
monitor may read it. Bodies and parameters are stored, so nothing secret may be a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version as installed_version
from typing import Any, Literal, LiteralString, cast

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pgberth.migrations.source import Kind, Migration, Value
from pgberth.model.problems import Refused
from pgberth.rendering.sql import read_sql

Connection = psycopg.Connection[Any]
State = Literal["started", "applied", "reverted", "failed"]

SCHEMA = "memory_ledger"
COLUMNS = (
    "component", "version", "ordinal", "name", "kind", "state", "template_sha256", "rendered_sha256", "body",
    "parameters", "needs", "note", "duration_ms", "started_at", "login", "application", "runner", "server", "vector",
)  # fmt: skip

# A query that names memory_ledger.event fails to parse where there is no ledger, and so does every query around it.
# ts_stat is the one function of every build that runs a query given as text, and only when it is called; it gives back
# the lexemes of tsvectors. So the heads go through it as one text in pieces that fit a lexeme (2046 bytes).
#
# A superuser asks, of a table whose owner may have been taken over. Reading a view, a rule, a column of a type with a
# cast of its own, or planning over an index on an expression: each can run the owner's function as the superuser. So
# the catalogue is asked first whether the table is a plain one; if not, the query ends in an error that says so.
HEADS_SQL: LiteralString = r"""
SELECT coalesce(string_agg(substr(word, 9), '' ORDER BY word COLLATE "C"), '[]')::json
  FROM pg_catalog.ts_stat(coalesce((
    SELECT CASE
      WHEN c.relkind <> 'r' OR c.relhasrules OR c.relhassubclass
        OR EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
                      AND NOT a.attisdropped AND (a.atttypid >= 16384 OR a.attgenerated <> ''))
        OR EXISTS (SELECT FROM pg_catalog.pg_index AS i
                    WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
        OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid = c.oid)
      THEN $$SELECT ''::tsvector WHERE 'memory_ledger.event is not as pgberth made it'::boolean$$
      ELSE $$
        SELECT pg_catalog.array_to_tsvector(ARRAY[lpad(n::text, 8, '0') || substr(heads, 1 + n * 500, 500)])
          FROM (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
                         'component', component, 'version', version, 'name', name, 'kind', kind, 'state', state,
                         'template_sha256', template_sha256, 'rendered_sha256', rendered_sha256,
                         'parameters', parameters, 'needs', needs) ORDER BY component, version), '[]')::text
                  FROM (SELECT DISTINCT ON (component, version) * FROM memory_ledger.event WHERE state <> 'failed'
                         ORDER BY component, version, ordinal DESC) AS head) AS written (heads),
               pg_catalog.generate_series(0, (pg_catalog.length(heads) - 1) / 500) AS n
      $$ END
      FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
     WHERE s.nspname = 'memory_ledger' AND c.relname = 'event'), $$SELECT ''::tsvector$$))
"""


@dataclass(frozen=True)
class Head:
    """Where one version stands, as the ledger has it. `body` is None where only HEADS_SQL was asked."""

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
        """From one element of HEADS_SQL's list, or one row of the view."""
        return cls(**{**row, "needs": tuple(row["needs"])})

    @property
    def title(self) -> str:
        """ "knowledge 0001_init": how messages call it."""
        return f"{self.component} {self.version}" + (f"_{self.name}" if self.kind == "versioned" else "")


def heads_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Head, ...]:
    """The list that HEADS_SQL returns, as values."""
    return tuple(Head.of(row) for row in rows)


def exists(connection: Connection) -> bool:
    """
    Whether this database has a ledger.

    Raises Refused where a schema of that name belongs to somebody else: it is not ours to trust or to take over.
    """
    found = connection.execute(read_sql("migrations/ledger-owner.sql")).fetchone()
    if found is None:
        return False
    owner, complete = found
    if owner != "memory_owner" or not complete:
        fact = f"schema memory_ledger exists, owned by {owner}, " + ("" if complete else "without a ledger in it")
        raise Refused.because(fact.rstrip(", "), "It is not pgberth's. Find out whose it is, and rename or drop it.")
    return True


def create(connection: Connection) -> None:
    """Make the ledger, in one transaction. For the owner role, under the bootstrap lock."""
    with connection.transaction():
        connection.execute(read_sql("migrations/ledger.sql"), prepare=False)


def heads(connection: Connection, component: str) -> tuple[Head, ...]:
    """Where each version of the component stands, bodies included. Empty where there is no ledger."""
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

    + with_body: False where another event of the same transaction has it
    + note: what a failure or a repair was; never a value of a row
    """
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
