"""What an older installation left is brought over whole, or not at all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from pgberth.migrations import legacy, runner
from pgberth.migrations.session import Connect
from pgberth.model.problems import Refused
from tests.postgres import Database

OLD = """
CREATE TABLE public.memory_namespaces (name text PRIMARY KEY, kind text NOT NULL, expires_at timestamptz,
  metadata jsonb, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE public.memory_records (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  namespace text NOT NULL REFERENCES public.memory_namespaces (name) ON DELETE CASCADE, content text NOT NULL,
  kind text NOT NULL, source text NOT NULL,
  expires_at timestamptz, propagation jsonb, pin boolean NOT NULL DEFAULT false, embedding public.vector(1536),
  content_tsv tsvector GENERATED ALWAYS AS (to_tsvector('english', content)) STORED,
  created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO public.memory_namespaces (name, kind, metadata, created_at)
  VALUES ('team:old', 'team', 'null', '2025-01-01 00:00:00Z'), ('team:empty', 'team', NULL, '2025-01-02 00:00:00Z');
INSERT INTO public.memory_records (namespace, content, kind, source, embedding, created_at)
  SELECT 'team:old', 'memory ' || n, 'fact', 'agent',
         CASE WHEN n = 1 THEN array_fill(0.5, ARRAY[1536])::public.vector END,
         timestamptz '2025-01-01 00:00:00Z' + n * interval '1 second' FROM generate_series(1, 40) AS n;
"""


def superuser(database: Database, script: str) -> None:
    with database.server.connect("postgres", database.name) as session:
        session.execute("SET search_path = pg_catalog, public")
        session.execute(script.encode())


def aside(database: Database, *, begun: bool = False) -> None:
    script = legacy.aside_script(begun=begun).removeprefix("\\connect memory\n")
    superuser(database, script)


def rows(database: Database, table: str, columns: str) -> Counter[Any]:
    with database.server.connect("postgres", database.name) as session:
        return Counter(map(tuple, session.execute(f"SELECT {columns} FROM {table}").fetchall()))


RECORD = "id, namespace, content, kind, source, embedding::text, created_at"


def test_rows_in_public_are_brought_over_with_their_ids_and_times(database: Database, connect: Connect) -> None:
    superuser(database, OLD)
    before = rows(database, "public.memory_records", RECORD)
    with pytest.raises(Refused, match="tables of the memory plugin are in schema public"):
        runner.apply(connect, "memory_plugin", {})
    aside(database)
    runner.apply(connect, "memory_plugin", {})
    assert legacy.bring_over(connect) == {"memory_namespaces": 2, "memory_records": 40}
    assert rows(database, "memory_plugin.memory_records", RECORD) == before
    assert rows(database, "memory_plugin.memory_namespaces", "name, metadata::text")[("team:old", "null")] == 1
    assert rows(database, "pg_namespace", "nspname")[(legacy.ASIDE,)] == 0
    assert legacy.bring_over(connect) == {}


def test_a_move_that_was_killed_in_between_is_gone_on_with(database: Database, connect: Connect) -> None:
    superuser(database, OLD)
    for _ in range(2):
        aside(database)
    runner.apply(connect, "memory_plugin", {})
    aside(database, begun=True)
    assert legacy.bring_over(connect)["memory_records"] == 40


def test_a_row_that_differs_from_one_of_the_same_key_stops_the_move_with_nothing_changed(
    database: Database, connect: Connect
) -> None:
    superuser(database, OLD)
    aside(database)
    runner.apply(connect, "memory_plugin", {})
    other = "INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('team:old', 'org')"
    superuser(database, other)
    with pytest.raises(Refused, match=r"memory_plugin\.memory_namespaces has 1 rows that differ"):
        legacy.bring_over(connect)
    assert rows(database, f"{legacy.ASIDE}.memory_records", "count(*)")[(40,)] == 1


def test_pgvector_in_the_components_schema_is_moved_to_public(database: Database, connect: Connect) -> None:
    superuser(database, "CREATE SCHEMA memory_plugin; ALTER EXTENSION vector SET SCHEMA memory_plugin")
    aside(database)
    query = "extnamespace::regnamespace::text"
    assert rows(database, "pg_extension WHERE extname = 'vector'", query) == {("public",): 1}
    runner.apply(connect, "memory_plugin", {})


LEGACY = """
CREATE TABLE memory_plugin.agent_memories (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), workspace_id uuid NOT NULL,
  content text NOT NULL, scope text NOT NULL, namespace varchar(50) NOT NULL DEFAULT 'general',
  embedding public.vector(1536), created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL DEFAULT now());
ALTER TABLE memory_plugin.agent_memories OWNER TO memory_owner;
INSERT INTO memory_plugin.agent_memories (workspace_id, content, scope, created_at)
  SELECT '00000000-0000-0000-0000-000000000001', 'same text', (ARRAY['LOCAL', 'TEAM', 'GLOBAL'])[1 + n % 3],
         timestamptz '2024-05-01 00:00:00Z' + n * interval '1 minute' FROM generate_series(1, 300) AS n;
"""


def test_agent_memories_are_backfilled_with_exact_parity(database: Database, connect: Connect) -> None:
    runner.apply(connect, "memory_plugin", {})
    superuser(database, LEGACY)
    assert legacy.backfill(connect, "memory_plugin", "verify") == {"rows": 300, "written": 0, "missing": 300}
    assert legacy.backfill(connect, "memory_plugin", "dry-run") == {"rows": 300, "written": 300, "missing": 0}
    assert legacy.backfill(connect, "memory_plugin", "verify")["missing"] == 300
    assert legacy.backfill(connect, "memory_plugin", "apply") == {"rows": 300, "written": 300, "missing": 0}
    assert legacy.backfill(connect, "memory_plugin", "apply") == {"rows": 300, "written": 0, "missing": 0}
    kept = "id, content, created_at"
    assert rows(database, "memory_plugin.memory_records", kept) == rows(database, "memory_plugin.agent_memories", kept)
    kinds = rows(database, "memory_plugin.memory_records", "split_part(namespace, ':', 1)")
    assert kinds == {("workspace",): 100, ("team",): 100, ("org",): 100}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE memory_plugin.memory_records SET created_at = now() WHERE content_tsv IS NOT NULL AND ctid = '(0,1)'",
        "DELETE FROM memory_plugin.memory_records WHERE ctid = '(0,2)'",
        "UPDATE memory_plugin.memory_records SET content = 'other' WHERE ctid = '(0,3)'",
    ],
    ids=["a time", "a row", "a text"],
)
def test_one_row_that_is_off_is_found(database: Database, connect: Connect, change: str) -> None:
    runner.apply(connect, "memory_plugin", {})
    superuser(database, LEGACY)
    legacy.backfill(connect, "memory_plugin", "apply")
    superuser(database, change)
    assert legacy.backfill(connect, "memory_plugin", "verify")["missing"] == 1


def test_a_scope_that_is_none_of_the_three_stops_the_backfill(database: Database, connect: Connect) -> None:
    runner.apply(connect, "memory_plugin", {})
    superuser(database, LEGACY + "UPDATE memory_plugin.agent_memories SET scope = 'ODD' WHERE scope = 'TEAM'")
    with pytest.raises(Refused, match=r"100 rows of memory_plugin\.agent_memories have a scope"):
        legacy.backfill(connect, "memory_plugin", "apply")
    with pytest.raises(Refused, match=r"there is no table public\.agent_memories"):
        legacy.backfill(connect, "public", "verify")
