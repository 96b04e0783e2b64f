"""The suite asked of a real server: green where all is well, and red by name where somebody spoilt it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgberth.checks import suite
from pgberth.checks.context import Check, CheckContext, rolled_back
from pgberth.checks.suite import run
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant
from tests.checks.conftest import HBA, LIVE, Live


def red(live: Live, tenant: Tenant = LIVE) -> dict[str, str]:
    """Red check -> its problems, one a line."""
    results = run(live.context(tenant))
    return {result.id: "\n".join(result.problems) for result in results if not result.passed}


def test_a_tenant_in_order_is_green_on_every_check(live: Live) -> None:
    results = run(live.context())
    assert [result.id for result in results] == [check.id for check in suite.checks_for(LIVE.tabled_components)]
    assert {result.id: result.problems for result in results if not result.passed} == {}


def test_the_suite_leaves_nothing_behind(live: Live) -> None:
    before = live.dump()
    run(live.context())
    assert live.dump() == before
    assert "pgberth-smoke" not in before
    with live.cluster.connect() as session:
        left = session.execute("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'memory%'").fetchone()
    assert left == (0,)


# What somebody did -> the checks that turn red, and what they say.
SPOILT: dict[str, tuple[str, dict[str, str]]] = {
    "an index dropped": (
        "DROP INDEX memory_plugin.idx_memory_records_embedding",
        {
            "schema": "index memory_plugin.idx_memory_records_embedding is missing",
            "memory-index": "does not serve a search by cosine distance",
        },
    ),
    "anybody may make tables": (
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        {"rights": "grant schema public has CREATE for PUBLIC, not wanted"},
    ),
    "a role's setting": (
        "ALTER ROLE memory_app_a IN DATABASE memory SET search_path = public",
        {"rights": "search_path=public is not wanted", "search-path": "the app's default search_path is 'public'"},
    ),
    "weaker searches": (
        "ALTER ROLE memory_app_a IN DATABASE memory SET hnsw.ef_search = 40;"
        " ALTER ROLE memory_app_a IN DATABASE memory RESET hnsw.scan_mem_multiplier",
        {
            "rights": "memory_app_a in memory: hnsw.scan_mem_multiplier=3 is missing",
            "search-defaults": "hnsw.ef_search is 40, wanted 400: a search can return too few rows\n"
            "hnsw.scan_mem_multiplier is 1, wanted 3: a search can return too few rows",
        },
    ),
    "a value that pgvector rejects": (
        "ALTER ROLE memory_app_a IN DATABASE memory SET hnsw.iterative_scan = sideways",
        {"search-defaults": "hnsw.iterative_scan is off, wanted strict_order: a search can return too few rows"},
    ),
    "a schema gone": (
        "DROP SCHEMA memory_plugin CASCADE",
        {
            "schema": "schema memory_plugin is missing",
            "search-path": "the memory_plugin URL lands in ['public'], wanted ['memory_plugin', 'public']",
            "memory-round-trip": "could not be asked: relation",
        },
    ),
    "a table in public": (
        "CREATE TABLE public.stray (a int)",
        {"public-clean": "unexpected object public.stray does not belong in public"},
    ),
    "no right to write": (
        "REVOKE INSERT ON memory_plugin.memory_records FROM memory_app",
        {
            "schema": "memory_records",
            "memory-round-trip": "could not be asked: permission denied for table memory_records",
            "memory-namespace": "was refused for another reason: 42501 permission denied",
        },
    ),
    "no foreign key": (
        "ALTER TABLE memory_plugin.memory_records DROP CONSTRAINT memory_records_namespace_fkey",
        {
            "schema": "memory_records_namespace_fkey is missing",
            "memory-namespace": "a namespace never seen was accepted",
        },
    ),
    "any dimension": (
        "DROP INDEX memory_plugin.idx_memory_records_embedding;"
        " ALTER TABLE memory_plugin.memory_records ALTER embedding TYPE public.vector",
        {"schema": "embedding", "memory-dimension": "an embedding of 3 dimensions was accepted"},
    ),
    "metadata required": (
        "ALTER TABLE memory_plugin.memory_namespaces ALTER metadata SET NOT NULL",
        {"schema": "metadata", "memory-metadata": "could not be asked: null value in column"},
    ),
    "history may be rewritten": (
        "GRANT UPDATE, DELETE, TRUNCATE ON control_plane.task_checkpoint TO memory_app;"
        " ALTER TABLE control_plane.task_checkpoint DISABLE TRIGGER USER",
        {"schema": "task_checkpoint", "task-history": "DELETE of task_checkpoint went through as the app"},
    ),
    "reviews may be rewritten": (
        "GRANT UPDATE ON knowledge.review_events TO memory_app; DROP TRIGGER IF EXISTS append_only"
        " ON knowledge.review_events; ALTER TABLE knowledge.review_events DISABLE TRIGGER USER",
        {"knowledge-history": "UPDATE of review_events went through as the app"},
    ),
    "the app locked out": (
        "ALTER ROLE memory_app_a NOLOGIN",
        {
            "ready": "could not be asked",
            "rights": "role memory_app_a cannot log in",
            "search-path": "could not be asked",
        },
    ),
    "the ledger gone": (
        "DROP SCHEMA memory_ledger CASCADE",
        {"ledger": "memory_plugin 0000_schema_bootstrap is not applied"},
    ),
    "programs for the app": (
        "GRANT pg_execute_server_program TO memory_app; GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC",
        {
            "app-confined": "\"COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'\" went through as the app\n"
            "'SELECT lo_create(0)' went through as the app",
            "rights": "function lo_create(oid) has EXECUTE for PUBLIC, not wanted",
        },
    ),
    "pgvector elsewhere": (
        "CREATE SCHEMA elsewhere; ALTER EXTENSION vector SET SCHEMA elsewhere",
        {"extension": "extension vector is in schema elsewhere, wanted public"},
    ),
}


@pytest.mark.parametrize("size", [1, 3, 1024])
def test_a_tenant_s_own_number_of_dimensions_is_the_one_that_works_and_is_enforced(live: Live, size: int) -> None:
    live.sql(
        "DROP INDEX memory_plugin.idx_memory_records_embedding;"
        f" ALTER TABLE memory_plugin.memory_records ALTER embedding TYPE public.vector({size});"
        " CREATE INDEX idx_memory_records_embedding ON memory_plugin.memory_records"
        " USING hnsw (embedding public.vector_cosine_ops)"
    )
    tenant = replace(LIVE, parameters={"memory_plugin": {"dimension": size}})
    assert [check for check in red(live, tenant) if check.startswith("memory-")] == []
    assert "memory-round-trip" in red(live)


# How a tenant may be full of rows that are as near to the check's own as these are to each other, or nearer.
CROWDS = {
    "twenty embeddings in all": "(SELECT array_agg(sin(n % 20 * 7.0 + d)) FROM generate_series(1, 1536) AS d)::vector",
    "the check's own embeddings": "array_cat(array_fill((n % 2)::real, '{1}'), array_cat(array_fill(1 - (n % 2)::real,"
    " '{1}'), array_fill(0::real, '{1534}')))::vector",
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_no_check_depends_on_how_alike_the_tenants_rows_are(live: Live, crowd: str) -> None:
    """Not even where the app's searches are short, with the settings that pgvector comes with."""
    live.sql(
        "ALTER ROLE memory_app_a IN DATABASE memory SET hnsw.ef_search = 40;"
        " ALTER ROLE memory_app_a IN DATABASE memory SET hnsw.iterative_scan = off;"
        " ALTER TABLE memory_plugin.memory_records SET (autovacuum_enabled = off);"
        " INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('workspace:full', 'workspace');"
        " INSERT INTO memory_plugin.memory_records (namespace, content, kind, source, embedding)"
        " SELECT 'workspace:full', 'The harbour master keeps a berth for every ship.', 'fact', 'agent',"
        f" {CROWDS[crowd]} FROM generate_series(1, 5000) AS n"
    )
    assert {*red(live)} == {"rights", "search-defaults"}
    live.sql("ANALYZE memory_plugin.memory_records")
    assert {*red(live)} == {"rights", "search-defaults"}


# Spoilt together, since none of a row stands in another's way: a suite takes a while.
TOGETHER = [
    ["an index dropped", "anybody may make tables", "a role's setting", "a table in public", "metadata required"],
    ["programs for the app", "no right to write", "history may be rewritten", "reviews may be rewritten"],
    ["the ledger gone"],
    ["no foreign key", "any dimension"],
    ["weaker searches"],
    ["a value that pgvector rejects", "a schema gone"],
    ["the app locked out"],
    ["pgvector elsewhere"],
]


def test_every_way_to_spoil_a_tenant_is_tried() -> None:
    assert sorted(what for row in TOGETHER for what in row) == sorted(SPOILT)


@pytest.mark.parametrize("spoilt", TOGETHER, ids=", ".join)
def test_what_somebody_spoilt_turns_its_own_checks_red_and_is_named(live: Live, spoilt: list[str]) -> None:
    for what in spoilt:
        live.sql(SPOILT[what][0])
    found = red(live)
    for what in spoilt:
        for check, says in SPOILT[what][1].items():
            assert says in found.get(check, "is green"), (what, check, found)


OPENED = {
    "everybody is trusted": (
        "host all all all trust\n",
        {
            "no-password": "memory_suite was let into memory over TCP with no password",
            "wrong-password": "memory_suite was let into memory over TCP with a password",
            "superuser-tcp": "postgres was let into postgres over TCP with a password",
            "hba": "pg_hba.conf is not the wanted one",
        },
    ),
    "the superuser may try passwords": (
        "host all postgres all scram-sha-256\n",
        {"superuser-tcp": "postgres with a password in memory was refused for another reason"},
    ),
    "nobody gets in": ("host all all all reject\n", {"ready": "could not be asked", "hba": "not the wanted one"}),
    "a line nobody understands": ("host all all all scrum\n", {"hba": "pg_hba.conf line 2: invalid authentication"}),
}


@pytest.mark.parametrize("how", OPENED)
def test_another_pg_hba_turns_its_own_checks_red(live: Live, how: str) -> None:
    line, desired = OPENED[how]
    live.let_in(f"local all all trust\n{line}{HBA}")
    found = red(live)
    for check, says in desired.items():
        assert says in found.get(check, "is green"), (check, found)


def test_a_check_that_gets_no_answer_gives_up_and_the_next_ones_are_asked(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped backend keeps no time limit of the server's, and its socket stays open."""
    stopped: list[int] = []

    def stop(of: CheckContext) -> Iterator[str]:
        backend = of.app().info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        stopped.append(backend)
        of.app().execute("SELECT 1")
        yield "the stopped backend answered"

    def ask(of: CheckContext) -> Iterator[str]:
        if of.app().info.backend_pid == stopped[0]:
            yield "the session is the one that was given up"
        with rolled_back(of.app()) as cursor:
            cursor.execute("SELECT 1")

    checks = Check("hangs", "it hangs", stop), Check("goes-on", "it goes on", ask)
    monkeypatch.setattr(suite, "ALL", checks)
    monkeypatch.setattr(suite, "CHECK_SECONDS", 2.0)
    try:
        told = {result.id: result.problems for result in run(live.context())}
    finally:
        for backend in stopped:
            os.kill(backend, signal.SIGCONT)
    assert told == {"hangs": ("gave up after 2 s without an answer",), "goes-on": ()}


def test_a_check_that_hangs_in_a_transaction_gives_up_too(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []

    def stop(of: CheckContext) -> Iterator[str]:
        with rolled_back(of.app()) as cursor:
            backend = of.app().info.backend_pid
            os.kill(backend, signal.SIGSTOP)
            stopped.append(backend)
            cursor.execute("SELECT 1")
        yield "the stopped backend answered"

    monkeypatch.setattr(suite, "ALL", (Check("hangs", "it hangs", stop),))
    monkeypatch.setattr(suite, "CHECK_SECONDS", 2.0)
    try:
        (result,) = run(live.context())
    finally:
        for backend in stopped:
            os.kill(backend, signal.SIGCONT)
    assert result.problems == ("gave up after 2 s without an answer",)


def test_when_the_time_for_all_checks_is_over_each_one_left_says_so(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "SUITE_SECONDS", 0.0)
    results = run(live.context())
    assert {result.problems for result in results} == {("was not asked: the 0 s for all checks were over",)}
    assert len(results) > 10


def test_a_wrong_stored_password_is_told_without_showing_it(live: Live) -> None:
    results = run(live.context(password=Secret("hunter2-hunter2")))
    told = {result.id: result.problems for result in results}
    assert any("password authentication failed" in problem for problem in told["ready"])
    assert "hunter2" not in str(results)


def test_a_server_that_is_gone_turns_red_what_needs_it_and_nothing_else(live: Live) -> None:
    context = live.context(address=("127.0.0.1", 1))
    told = {result.id: result.problems for result in run(context)}
    assert any("could not be asked: connection failed" in problem for problem in told["ready"])
    assert told["no-password"][0].startswith("memory_suite with no password in memory was refused for another reason")
    assert told["rights"] == told["container-spec"] == told["ledger"] == ()


def test_a_tenant_that_lets_the_superuser_in_is_held_to_its_password(live: Live) -> None:
    opened = replace(LIVE, superuser_tcp=True)
    assert "superuser-tcp" in red(live, opened)  # refused by the file, not for its password
    live.let_in(HBA.replace("host all postgres all reject", "host all postgres all scram-sha-256"))
    assert "superuser-tcp" not in red(live, opened)
    assert "superuser-tcp" in red(live)
