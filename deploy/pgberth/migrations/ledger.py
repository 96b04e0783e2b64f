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

Connection = psycopg.Connection[Any]
State = Literal["started", "applied", "reverted", "failed"]

SCHEMA = "memory_ledger"
COLUMNS = (
    "component", "version", "ordinal", "name", "kind", "state", "template_sha256", "rendered_sha256", "body",
    "parameters", "needs", "note", "duration_ms", "started_at", "login", "application", "runner", "server", "vector",
)  # fmt: skip

_CREATE: LiteralString = """
CREATE SCHEMA memory_ledger AUTHORIZATION memory_owner;

COMMENT ON SCHEMA memory_ledger IS 'What was done to the schemas of this database. Written by pgberth only.';

CREATE TABLE memory_ledger.event (
  id              bigint       GENERATED ALWAYS AS IDENTITY CONSTRAINT event_pk PRIMARY KEY,
  component       text         NOT NULL,
  version         text         NOT NULL,
  ordinal         integer      NOT NULL,
  name            text         NOT NULL,
  kind            text         NOT NULL CONSTRAINT event_kind CHECK (kind IN ('versioned', 'repeatable', 'code')),
  state           text         NOT NULL
                  CONSTRAINT event_state CHECK (state IN ('started', 'applied', 'reverted', 'failed')),
  template_sha256 text         NOT NULL,
  rendered_sha256 text         NOT NULL,
  body            text         NOT NULL,
  parameters      jsonb        NOT NULL CONSTRAINT event_parameters CHECK (jsonb_typeof(parameters) = 'object'),
  needs           text[]       NOT NULL,
  note            text,
  duration_ms     integer,
  started_at      timestamptz  NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  login           text         NOT NULL DEFAULT session_user,
  application     text         NOT NULL DEFAULT pg_catalog.current_setting('application_name'),
  runner          text         NOT NULL,
  server          text         NOT NULL DEFAULT pg_catalog.current_setting('server_version'),
  vector          text,
  -- Two runners that begin the same step at once collide here, before either has run any of it.
  CONSTRAINT event_once UNIQUE (component, version, ordinal)
);

CREATE VIEW memory_ledger.head AS
  SELECT DISTINCT ON (component, version)
         component, version, name, kind, state, template_sha256, rendered_sha256, body, parameters, needs, started_at
    FROM memory_ledger.event
   WHERE state <> 'failed'
   ORDER BY component, version, ordinal DESC;

CREATE FUNCTION memory_ledger.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory_ledger.event
  FOR EACH STATEMENT EXECUTE FUNCTION memory_ledger.refuse_change();

ALTER TABLE memory_ledger.event ENABLE ALWAYS TRIGGER append_only;

-- What deploy/erase.py took away; never what it was.
CREATE TABLE memory_ledger.tombstone (
  id        bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT tombstone_pk PRIMARY KEY,
  component text        NOT NULL,
  subject   text        NOT NULL,
  deleted   jsonb       NOT NULL,
  reason    text        NOT NULL CONSTRAINT tombstone_reason CHECK (reason ~ '\\S'),
  erased_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  login     text        NOT NULL DEFAULT session_user
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory_ledger.tombstone
  FOR EACH STATEMENT EXECUTE FUNCTION memory_ledger.refuse_change();

ALTER TABLE memory_ledger.tombstone ENABLE ALWAYS TRIGGER append_only;

REVOKE ALL ON FUNCTION memory_ledger.refuse_change() FROM PUBLIC;
GRANT USAGE ON SCHEMA memory_ledger TO memory_monitor;
GRANT SELECT ON memory_ledger.event, memory_ledger.head, memory_ledger.tombstone TO memory_monitor;
"""

_RECORD: LiteralString = """
INSERT INTO memory_ledger.event (component, version, ordinal, name, kind, state, template_sha256, rendered_sha256,
                                 body, parameters, needs, note, duration_ms, runner, vector)
SELECT %(component)s, %(version)s, 1 + coalesce(max(ordinal), 0), %(name)s, %(kind)s, %(state)s, %(template_sha256)s,
       %(rendered_sha256)s, %(body)s, %(parameters)s, %(needs)s, %(note)s, %(duration_ms)s, %(runner)s,
       (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector')
  FROM memory_ledger.event WHERE component = %(component)s AND version = %(version)s
"""

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
    found = connection.execute(
        "SELECT pg_catalog.pg_get_userbyid(nspowner), EXISTS (SELECT FROM pg_catalog.pg_class"
        " WHERE relnamespace = n.oid AND relname = 'head')"  # not to_regclass: it wants a right on the schema
        " FROM pg_catalog.pg_namespace AS n WHERE nspname = 'memory_ledger'"
    ).fetchone()
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
        connection.execute(_CREATE, prepare=False)


def heads(connection: Connection, component: str) -> tuple[Head, ...]:
    """Where each version of the component stands, bodies included. Empty where there is no ledger."""
    if not exists(connection):
        return ()
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "SELECT component, version, name, kind, state, template_sha256, rendered_sha256, parameters, needs, body"
            " FROM memory_ledger.head WHERE component = %s ORDER BY version",
            [component],
        )
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
    connection.execute(_RECORD, cast(dict[str, Any], values))


@lru_cache
def _runner() -> str:
    return installed_version("pgberth")
