"""An application that takes all that it can get: the suite still passes, and pgberth's own roles still log in."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from pgberth.checks.suite import run
from pgberth.database.access import CLOSED_FUNCTIONS, settings
from pgberth.database.login_probe import LoginProbe
from pgberth.database.session import connect, prove_login
from pgberth.migrations import runner
from pgberth.migrations.session import RetryPolicy
from pgberth.migrations.session import _key as session_key
from pgberth.model.diagnosis import NO_LOCK_MEMORY, diagnose
from pgberth.model.roles import MIGRATOR, MONITOR, PASSWORD_KINDS, SUITE
from pgberth.model.secret import Secret
from tests.checks.conftest import LIVE, Live
from tests.fake_host import password_in
from tests.postgres import Server, running_server

APP = password_in("app-v1")


def address(live: Live) -> tuple[str, int]:
    return "127.0.0.1", live.cluster.port


@contextmanager
def every_place_of_the_app_taken(live: Live) -> Iterator[int]:
    """How many sessions the app holds: one more is refused."""
    with ExitStack() as held:
        for number in range(LIVE.connections.app):
            held.enter_context(connect(address(live), "memory_app_a", APP, application_name=f"client {number}"))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            connect(address(live), "memory_app_a", APP)
        yield LIVE.connections.app


@contextmanager
def silent(port: int, connections: int, user: str) -> Iterator[None]:
    """Connections that name a role and never send a password: each holds a place of the server."""
    words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", "memory", ""))
    packet = struct.pack("!ii", len(words) + 8, 3 << 16) + words
    with ExitStack() as held:
        for _ in range(connections):
            line = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            line.sendall(packet)
            line.recv(1)  # the server asks for a password: from here on the place is held
        yield


def red(live: Live) -> dict[str, tuple[str, ...]]:
    return {result.id: result.problems for result in run(live.context()) if result.problems}


def test_the_app_gets_the_connections_that_are_promised_and_the_suite_is_green_beside_them(live: Live) -> None:
    with every_place_of_the_app_taken(live) as held:
        assert held >= LIVE.profile.clients + LIVE.plugin_pool
        assert red(live) == {}


def test_where_the_app_has_no_free_connection_the_run_says_as_whom_it_judged(live: Live) -> None:
    crowded, free = live.context(), live.context()
    with every_place_of_the_app_taken(live):
        assert all(result.passed for result in run(crowded))
    (note,) = crowded.notes
    assert note.startswith("all connections of memory_app_a are in use: ")
    assert "the checks were made as memory_suite" in note
    assert all(result.passed for result in run(free))
    assert free.notes == []


def test_both_pools_are_open_during_a_rotation_and_no_login_is_refused(live: Live) -> None:
    """The clients open a new pool as the other role before they close the previous one."""
    live.sql("ALTER ROLE memory_app_b LOGIN")
    with live.cluster.connect() as session:
        session.execute("UPDATE pg_authid SET rolpassword = (SELECT rolpassword FROM pg_authid"
                        " WHERE rolname = 'memory_app_a') WHERE rolname = 'memory_app_b'")  # fmt: skip
    with every_place_of_the_app_taken(live), ExitStack() as second:
        for _ in range(LIVE.connections.app):
            second.enter_context(connect(address(live), "memory_app_b", APP))
        probe = LoginProbe("memory_app_b", APP)
        probe.try_login(address(live))
        assert (probe.logins, probe.refused) == (1, [])
        prove_login(address(live), "memory_app_a", APP)


def test_a_full_role_proves_no_wrong_password(live: Live) -> None:
    with (
        every_place_of_the_app_taken(live),
        pytest.raises(psycopg.OperationalError, match="password authentication failed"),
    ):
        prove_login(address(live), "memory_app_a", Secret("another"))


@pytest.mark.parametrize("role", [MIGRATOR, SUITE, MONITOR])
def test_a_role_of_pgberth_logs_in_beside_an_app_that_holds_all_it_can(live: Live, role: str) -> None:
    with every_place_of_the_app_taken(live):
        connect(address(live), role, password_in(f"{PASSWORD_KINDS[role]}-v1")).close()


@pytest.fixture(scope="module")
def narrow() -> Iterator[Server]:
    """A server with ten places, whose silent connections end after two seconds."""
    with running_server(18, {"max_connections": "10", "authentication_timeout": "2s"}) as server:
        server.run("CREATE ROLE memory_app_a LOGIN PASSWORD 'hunter2-hunter2'")
        server.run("CREATE DATABASE memory")
        yield server


def test_a_login_waits_until_connections_that_never_log_in_are_ended(narrow: Server) -> None:
    with silent(narrow.port, 10, "memory_app_a"):
        with pytest.raises(psycopg.OperationalError, match="too many clients already"):
            narrow.connect()
        began = time.monotonic()
        connect(("127.0.0.1", narrow.port), "memory_app_a", Secret("hunter2-hunter2")).close()
        assert time.monotonic() - began > 0.1


def test_sixty_silent_connections_leave_places_for_everybody(live: Live) -> None:
    with every_place_of_the_app_taken(live), silent(live.cluster.port, 60, "memory_app_a"):
        assert red(live) == {}
        with live.cluster.connect() as operator:
            assert operator.execute("SELECT 1").fetchone() == (1,)


def test_the_app_can_take_no_advisory_lock_and_call_nothing_else_that_uses_up_what_others_need(live: Live) -> None:
    """All of the server's own functions of such a name, whatever this major version has."""
    query = """SELECT p.oid::regprocedure::text FROM pg_proc AS p
                WHERE has_function_privilege('memory_app_a', p.oid, 'EXECUTE')
                  AND (p.proname ~ 'advisory.*lock' AND p.proname !~ 'unlock' OR p.proname = ANY (%s))"""
    with live.cluster.connect(dbname="memory") as session:
        assert session.execute(query, [list(CLOSED_FUNCTIONS)]).fetchall() == []


def test_a_migration_runs_whatever_locks_the_app_asks_for(live: Live) -> None:
    with live.cluster.connect("memory_app_a", "memory") as app:
        for component in LIVE.ordered_components:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute("SELECT pg_try_advisory_lock(%s, %s)", session_key(component))
            retry = RetryPolicy(lock_seconds=0.5)
            runner.apply(lambda: live.cluster.connect(MIGRATOR, "memory"), component, retry=retry)


def test_every_session_of_the_app_may_lock_every_relation_it_can_read(live: Live) -> None:
    """The server's table of locks is large enough; the test's own has half the places of a tenant's."""
    readable = """SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'p')
                     AND has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')"""
    with ExitStack() as opened:
        for _ in range(LIVE.connections.app):
            session = opened.enter_context(live.cluster.connect("memory_app_a", "memory"))
            session.execute("BEGIN")
            names = [name for (name,) in session.execute(readable).fetchall()]
            session.execute(f"LOCK TABLE {', '.join(names)} IN ACCESS SHARE MODE".encode())
        assert len(names) > 200
        with live.cluster.connect() as operator:
            assert operator.execute("SELECT 1").fetchone() == (1,)


def test_savepoints_use_up_the_locks_and_a_login_waits_until_their_transaction_ends() -> None:
    """PostgreSQL has no limit for savepoints; the README says so. Nobody logs in meanwhile, not even the superuser."""
    with running_server(18, {"max_connections": "10", "max_locks_per_transaction": "10"}) as server:
        server.run("CREATE DATABASE memory")
        server.run("CREATE ROLE memory_app_a LOGIN; CREATE ROLE memory_monitor LOGIN PASSWORD 'hunter2-hunter2'")
        server.run("CREATE TABLE note (n int); GRANT INSERT ON note TO memory_app_a", dbname="memory")
        app = server.connect("memory_app_a", "memory")
        app.execute("BEGIN")
        with pytest.raises(psycopg.errors.OutOfMemory):
            for number in range(100_000):
                app.execute(f"SAVEPOINT s{number}; INSERT INTO note VALUES ({number})".encode())
        with pytest.raises(psycopg.OperationalError) as refused:
            server.connect()
        assert diagnose(str(refused.value)) is NO_LOCK_MEMORY
        threading.Timer(0.5, app.close).start()
        connect(("127.0.0.1", server.port), MONITOR, Secret("hunter2-hunter2")).close()


def test_the_app_fills_no_disk_with_temporary_files(live: Live) -> None:
    with live.cluster.connect("memory_app_a", "memory") as app:
        assert app.execute("SHOW temp_file_limit").fetchone() == (LIVE.profile.temp_files,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("SET temp_file_limit = -1")
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="temp_file_limit"):
            app.execute("SELECT repeat(md5(i::text), 20) FROM generate_series(1, 600000) AS i ORDER BY 1")


def test_the_suite_starts_with_what_the_app_starts_with() -> None:
    app, suite = ([(it.name, it.words) for it in settings(LIVE) if it.role == role] for role in ("memory_app_a", SUITE))
    assert app == suite != []
