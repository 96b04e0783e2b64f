"""The test server is what the other tests take it for."""

from __future__ import annotations

import psycopg
import pytest

from tests.postgres import Database


def test_a_tenant_database_is_postgres_18_with_pgvector_in_public(database: Database) -> None:
    session = database.connect("postgres")
    row = session.execute(
        "SELECT current_setting('server_version_num')::int / 10000, extversion, extnamespace::regnamespace::text"
        " FROM pg_extension WHERE extname = 'vector'"
    ).fetchone()
    assert row is not None
    assert row[0] == 18
    assert row[2] == "public"


def test_a_plain_database_is_postgres_16_without_pgvector(plain_postgres16: Database) -> None:
    session = plain_postgres16.connect("postgres")
    assert session.info.server_version // 10000 == 16
    assert session.execute("SELECT extname FROM pg_extension").fetchall() == [("plpgsql",)]


@pytest.mark.parametrize("user", ["memory_migrator", "memory_app_a", "memory_app_b", "memory_monitor"])
def test_every_login_role_gets_in_over_tcp_with_its_password_only(database: Database, user: str) -> None:
    assert database.connect(user, tcp=True).execute("SELECT current_user").fetchone() == (user,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database.conninfo(user, tcp=True), password="wrong")


@pytest.mark.parametrize("user", ["memory_app_a", "memory_migrator", "memory_monitor"])
def test_nobody_but_the_owner_makes_a_schema_or_a_temporary_table(database: Database, user: str) -> None:
    for statement in ("CREATE SCHEMA mine", "CREATE TEMP TABLE mine ()", "CREATE TABLE public.mine ()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.connect(user).execute(statement)


def test_the_owner_is_reached_through_the_migrator_and_owns_the_database(database: Database) -> None:
    session = database.connect("memory_owner")
    assert session.execute("SELECT session_user, current_user").fetchone() == ("memory_migrator", "memory_owner")
    session.execute("CREATE SCHEMA mine")
