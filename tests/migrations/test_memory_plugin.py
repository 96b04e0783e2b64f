"""The memory plugin's schema: what is there, what is refused, and that going back loses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from pgberth.model.problems import Refused
from tests.contract.catalogue import Session, live
from tests.contract.components import applied, bring_up, dump, found, standing, take_down, undone
from tests.postgres import Database, Server

NAMESPACE = "INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('workspace:1', 'workspace')"
RECORD = """INSERT INTO memory_plugin.memory_records (namespace, content, kind, source)
            VALUES ('workspace:1', 'The gate is green.', 'fact', 'agent')"""

# What the plugin itself runs at each start, in our words: the names are its own.
PLUGIN_DDL = """
CREATE SCHEMA IF NOT EXISTS memory_plugin;
CREATE TABLE IF NOT EXISTS memory_plugin.memory_namespaces (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS memory_plugin.memory_records (id uuid PRIMARY KEY);
CREATE INDEX IF NOT EXISTS idx_memory_records_namespace ON memory_plugin.memory_records (namespace);
CREATE INDEX IF NOT EXISTS idx_memory_records_fts ON memory_plugin.memory_records USING gin (content_tsv);
CREATE INDEX IF NOT EXISTS idx_memory_records_embedding ON memory_plugin.memory_records
  USING ivfflat (embedding) WHERE embedding IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_memory_records_expires ON memory_plugin.memory_records (expires_at);
"""


@pytest.fixture(scope="module")
def tenant(postgres18: Server) -> Iterator[Database]:
    with standing(postgres18, "memory_plugin") as database:
        yield database


@pytest.fixture(scope="module")
def superuser(tenant: Database) -> Session:
    return tenant.connect("postgres")


@pytest.fixture(scope="module")
def app(tenant: Database) -> Session:
    return tenant.connect("memory_app_a")


@pytest.mark.parametrize("dimension", [1, 768, 2000])
def test_the_dimension_of_embeddings_is_a_parameter(database: Database, dimension: int) -> None:
    bring_up(database, "memory_plugin", {"dimension": dimension})
    tables = live(database.connect("postgres"), "memory_plugin")["tables"]
    assert tables["memory_records"]["columns"]["embedding"]["type"] == f"vector({dimension})"


@pytest.mark.parametrize("dimension", [0, 2001])
def test_a_dimension_that_cannot_be_indexed_leaves_nothing_behind(database: Database, dimension: int) -> None:
    with pytest.raises(Refused):
        bring_up(database, "memory_plugin", {"dimension": dimension})
    assert live(database.connect("postgres"), "memory_plugin")["tables"] == {}


def test_the_start_up_ddl_of_the_plugin_finds_everything_and_changes_nothing(database: Database) -> None:
    bring_up(database, "memory_plugin")
    before = dump(database)
    database.connect("memory_owner").execute(PLUGIN_DDL)
    assert dump(database) == before


def test_cosine_queries_use_the_vector_index_and_others_cannot(superuser: Session) -> None:
    def plan(operator: str) -> str:
        query = f"""EXPLAIN SELECT id FROM memory_plugin.memory_records WHERE embedding IS NOT NULL
                    ORDER BY embedding {operator} array_fill(0.5, ARRAY[1536])::vector LIMIT 5"""
        return str(superuser.execute(query.encode()).fetchall())

    with undone(superuser):
        superuser.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        assert "idx_memory_records_embedding" in plan("<=>")
        assert "idx_memory_records_embedding" not in plan("<->")


GOOD = {
    "no metadata": "INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('org:9', 'org')",
    "metadata that is JSON null": """INSERT INTO memory_plugin.memory_namespaces (name, kind, metadata)
                                     VALUES ('org:9', 'org', 'null')""",
    "empty metadata": """INSERT INTO memory_plugin.memory_namespaces (name, kind, metadata)
                         VALUES ('org:9', 'custom', '{}')""",
    "a record": RECORD,
    "a record that is changed": "UPDATE memory_plugin.memory_records SET pin = true",
    "a record that goes": "DELETE FROM memory_plugin.memory_records",
    "an upsert": """INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('workspace:1', 'team')
                    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind""",
}
BAD = {
    "a kind of namespace that is none": (
        "INSERT INTO memory_plugin.memory_namespaces VALUES ('x:1', 'tribe')",
        "23514",
    ),
    "a kind of record that is none": (RECORD.replace("'fact'", "'rumour'"), "23514"),
    "a source that is none": (RECORD.replace("'agent'", "'oracle'"), "23514"),
    "a namespace that was never put": (RECORD.replace("workspace:1", "workspace:2"), "23503"),
    "a vector of another dimension": (
        f"{RECORD}; UPDATE memory_plugin.memory_records SET embedding = '[1,2]'",
        "22000",
    ),
    "a text-search vector of one's own": (
        f"{RECORD}; UPDATE memory_plugin.memory_records SET content_tsv = 'x'",
        "428C9",
    ),
    "TRUNCATE": ("TRUNCATE memory_plugin.memory_records", "42501"),
    "CREATE TABLE": ("CREATE TABLE memory_plugin.mine (a int)", "42501"),
    "CREATE TABLE IF NOT EXISTS": ("CREATE TABLE IF NOT EXISTS memory_plugin.memory_records (a int)", "42501"),
    "ALTER TABLE": ("ALTER TABLE memory_plugin.memory_records ADD mine int", "42501"),
    "DROP TABLE": ("DROP TABLE memory_plugin.memory_records", "42501"),
    "DROP SCHEMA": ("DROP SCHEMA memory_plugin CASCADE", "42501"),
    "a table in public": ("CREATE TABLE public.memory_records (a int)", "42501"),
    "a temporary table that shadows": ("CREATE TEMP TABLE memory_records (a int)", "42501"),
    "becoming the owner": ("SET ROLE memory_owner", "42501"),
}


@pytest.mark.parametrize("statement", GOOD.values(), ids=GOOD)
def test_the_app_can_write(app: Session, statement: str) -> None:
    with undone(app):
        app.execute(NAMESPACE)
        app.execute(statement.encode())


@pytest.mark.parametrize(("statement", "sqlstate"), BAD.values(), ids=BAD)
def test_the_app_is_refused(app: Session, statement: str, sqlstate: str) -> None:
    with undone(app), pytest.raises(psycopg.Error) as refused:
        app.execute(NAMESPACE)
        app.execute(statement.encode())
    assert refused.value.sqlstate == sqlstate


def test_a_namespace_takes_its_records_along(app: Session) -> None:
    with undone(app):
        app.execute(f"{NAMESPACE}; {RECORD}; DELETE FROM memory_plugin.memory_namespaces".encode())
        assert app.execute("SELECT count(*) FROM memory_plugin.memory_records").fetchone() == (0,)


@pytest.mark.parametrize("filling", [NAMESPACE, f"{NAMESPACE}; {RECORD}"], ids=["a namespace", "a record"])
def test_down_over_rows_refuses_and_changes_nothing(database: Database, filling: str) -> None:
    bring_up(database, "memory_plugin")
    database.connect("memory_app_a").execute(filling.encode())
    before = dump(database)
    with pytest.raises(Refused, match="0001 is not reversible"):
        take_down(database, "memory_plugin", "zero")
    assert dump(database) == before
    assert found(database.connect("memory_owner"), applied(database, "memory_plugin")) == ()


def test_down_never_takes_an_extension_along(database: Database) -> None:
    bring_up(database, "memory_plugin", to="0000")
    database.connect("postgres").execute("ALTER EXTENSION vector SET SCHEMA memory_plugin")
    with pytest.raises(Refused, match="other objects depend on it"):
        take_down(database, "memory_plugin", "zero")
    assert database.connect("postgres").execute("SELECT to_regtype('memory_plugin.vector')").fetchone() != (None,)


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("DROP EXTENSION vector", "public.vector is missing"),
        ("CREATE TABLE public.memory_records (id int)", "in schema public: public.memory_records"),
        ("CREATE SCHEMA memory_plugin", 'schema "memory_plugin" already exists'),
    ],
)
def test_up_stops_before_what_it_must_not_touch(database: Database, before: str, says: str) -> None:
    database.connect("postgres").execute(before.encode())
    with pytest.raises(Refused, match=says):
        bring_up(database, "memory_plugin")
    assert live(database.connect("postgres"), "memory_plugin")["tables"] == {}


def test_a_record_without_its_namespace_names_the_key(app: Session) -> None:
    with undone(app), pytest.raises(errors.ForeignKeyViolation) as refused:
        app.execute(RECORD.encode())
    assert refused.value.diag.constraint_name == "memory_records_namespace_fkey"
