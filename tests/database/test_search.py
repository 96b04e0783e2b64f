"""A search for the nearest vectors returns all its rows; with the settings that pgvector comes with it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import mean

import psycopg
import pytest

from pgberth.database.access import access_sql
from pgberth.migrations.source import Parameters
from pgberth.model.connections import PLUGIN_POOL
from pgberth.model.profile import PROFILES, SCAN_ROW, SCANS_AT_ONCE, Profile
from pgberth.model.roles import APP_LOGINS, LOGINS
from pgberth.model.tenant import COMPONENTS, HEAD
from tests import searches
from tests.contract.components import bring_up, parameters
from tests.database.test_access import VERIFIERS, run
from tests.postgres import Database, Server, running_server
from tests.sample import ACME
from tests.searches import BY_TYPE, STORES, Store

ROWS = 3000
DIMENSION = 256  # what the tests' register_model stamps
ASKED = 10
TENANT = replace(ACME, components=dict.fromkeys(COMPONENTS, HEAD))
GIVEN: dict[str, Parameters] = {
    "memory_plugin": {"dimension": DIMENSION},
    "control_plane": {**searches.PARAMETERS, "embedding_dimension": DIMENSION},
}
STATEMENTS = {**STORES, "knowledge by type": BY_TYPE}
MEBIBYTES = {"384m": 384, "1g": 1024, "4g": 4096, "64MB": 64, "256MB": 256, "1GB": 1024}
# pgvector's own defaults, as if the roles had none; and the index alone, as where a table is too large to be read.
AS_SHIPPED = "SELECT set_config(name, boot_val, false) FROM pg_settings WHERE name LIKE 'hnsw.%'"
INDEX_ALONE = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server(18) as made:
        run(made, access_sql(TENANT, VERIFIERS, APP_LOGINS))
        yield made


@pytest.fixture(scope="module")
def asked(server: Server) -> list[str]:
    """What can be asked of the components, each of which has ROWS vectors."""
    database = Database(server, "memory")
    try:
        for component in TENANT.ordered_components:
            bring_up(database, component, GIVEN.get(component, parameters(component)))
    finally:
        database.close()
    with server.connect(dbname="memory") as session:
        return searches.fill(session, STORES.values(), ROWS, DIMENSION)[:ASKED]


def app(server: Server, store: Store) -> psycopg.Connection:
    """A session of the app's, as its URL for the component makes it, that has used pgvector."""
    session = server.connect("memory_app_a", "memory")
    session.execute(f"SET search_path = {store.component}, public".encode())
    session.execute("SELECT '[1]'::vector")
    return session


def taken(server: Server, asked: list[str], name: str, groups: int, limit: int, *before: str) -> list[searches.Answer]:
    store = STATEMENTS[name]
    with app(server, store) as session:
        for statement in before:
            session.execute(statement.encode())
        return list(searches.answers(session, store, asked, groups, limit))


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize(("groups", "limit"), [(5, 20), (10, 20), (10, 100), (60, 100)])
def test_with_pgvectors_own_settings_rows_are_missing(
    server: Server, asked: list[str], name: str, groups: int, limit: int
) -> None:
    """What the other tests here are worth: the same rows and statements, and nobody says that the answers are short."""
    answers = taken(server, asked, name, groups, limit, AS_SHIPPED, INDEX_ALONE)
    assert any(answer.short for answer in answers)
    assert mean(answer.recall for answer in answers) < 0.95


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("limit", [20, 100])
@pytest.mark.parametrize("groups", [1, 5, 10, 60])
def test_all_rows_come_whatever_the_filter(
    server: Server, asked: list[str], name: str, groups: int, limit: int
) -> None:
    answers = taken(server, asked, name, groups, limit)
    assert [answer.short for answer in answers] == [0] * ASKED
    assert mean(answer.recall for answer in answers) >= 0.95


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize(("groups", "limit"), [(5, 20), (10, 20), (10, 100), (60, 100)])
def test_all_rows_come_from_the_vector_index_too(
    server: Server, asked: list[str], name: str, groups: int, limit: int
) -> None:
    answers = taken(server, asked, name, groups, limit, INDEX_ALONE)
    assert [answer.short for answer in answers] == [0] * ASKED
    assert mean(answer.recall for answer in answers) >= 0.95


@pytest.mark.parametrize("login", LOGINS)
def test_every_login_searches_with_the_profiles_settings(server: Server, login: str) -> None:
    """pgvector is not loaded yet when the role's settings are taken up; it checks them at its first use."""
    said: list[str | None] = []
    with server.connect(login, "memory") as session:
        session.add_notice_handler(lambda notice: said.append(notice.message_primary))
        before = {name: session.execute(f"SHOW {name}".encode()).fetchone() for name in TENANT.profile.search}
        session.execute("SELECT '[1]'::public.vector")
        after = {name: session.execute(f"SHOW {name}".encode()).fetchone() for name in TENANT.profile.search}
    assert before == after == {name: (value,) for name, value in TENANT.profile.search.items()}
    assert said == []


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_pgvector_accepts_the_settings_of_every_profile(server: Server, profile: Profile) -> None:
    with server.connect(dbname="memory") as session:
        session.execute("SELECT '[1]'::public.vector")
        for name, value in profile.search.items():
            session.execute("SELECT set_config(%s, %s, false)", [name, value])


def test_a_scan_may_remember_its_share_of_the_memory() -> None:
    found = {name: profile.search["hnsw.scan_mem_multiplier"] for name, profile in PROFILES.items()}
    assert found == {"small": "3", "medium": "8", "large": "7"}  # times work_mem: 12, 64 and 112 MB


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_the_scans_that_may_go_far_at_once_fit_beside_the_shared_buffers(profile: Profile) -> None:
    """On `small`, where one scan can remember every row, every second connection may."""
    connections = profile.clients + PLUGIN_POOL
    at_once = connections // (2 if profile.name == "small" else SCANS_AT_ONCE)
    memory = MEBIBYTES[profile.memory]
    assert at_once * profile.scan_memory <= (memory - MEBIBYTES[profile.settings["shared_buffers"]]) / 2
    assert profile.scan_memory * 2**20 / SCAN_ROW >= min(profile.rows, 300_000)
