"""Each cause made real on a server: what the suite says of it, whom it names, and where it leads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread

import psycopg
import pytest

from pgberth.checks.suite import run
from pgberth.container.activity import activity_queries
from pgberth.container.state import TenantState
from pgberth.migrations.tenant_run import tenant_probe
from pgberth.model import diagnosis
from pgberth.model.sessions import BLOCKS_READERS, BLOCKS_WRITERS, Activity
from pgberth.rendering.sql import render
from tests.checks.conftest import LIVE, Live
from tests.fake_host import password_in
from tests.postgres import running_server
from tests.sample import observe_output, state


@pytest.fixture
def open_sessions() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def as_app(live: Live, opened: ExitStack, application: str = "worker") -> psycopg.Connection:
    """A session of the tenant's own client."""
    session = psycopg.connect(
        host="127.0.0.1",
        port=live.cluster.port,
        user="memory_app_a",
        password=password_in("app-v1").reveal(),
        dbname="memory",
        application_name=application,
    )
    return opened.enter_context(session)


def activity(live: Live) -> Activity:
    return Activity.parse(
        json.loads(live.psql(render("postgres/activity.sql.j2", activity_queries()) + "\n", "memory"))
    )


def observed(live: Live) -> TenantState:
    """As observe.sh asks, whatever the server answers."""
    options = ["-XAtq", "-v", "ON_ERROR_STOP=1", live.cluster.conninfo("postgres", "memory"), "-f", "-"]
    command = [str(live.cluster.bin / "psql"), *options]
    done = subprocess.run(command, input=tenant_probe(LIVE), capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    return TenantState.parse(observe_output(LIVE, state(LIVE, answer=None, server_error=text)).splitlines())


def red(live: Live) -> dict[str, str]:
    results = run(live.context(ask_activity=lambda: activity(live)))
    return {result.id: "\n".join(result.problems) for result in results if not result.passed}


def test_a_table_locked_for_ever_is_red_alone_and_its_holder_is_named(live: Live, open_sessions: ExitStack) -> None:
    live.spoilt = True
    holder = as_app(live, open_sessions)
    holder.execute("SET idle_in_transaction_session_timeout = 0")
    holder.execute("LOCK TABLE memory_plugin.memory_records IN ACCESS EXCLUSIVE MODE")
    holder.execute("SELECT 'a secret of theirs'")
    found = red(live)
    named = (
        f"pid {holder.info.backend_pid} (memory_app_a, application worker, from 127.0.0.1, idle in transaction since"
    )
    assert named in "\n".join(found.values())
    assert "holds AccessExclusiveLock on memory_plugin.memory_records" in found["memory-round-trip"] + found["schema"]
    assert "canceling statement due to lock timeout" in found["memory-round-trip"]
    assert "secret" not in "\n".join(found.values())
    assert {"ready", "rights", "ledger", "no-password", "task-history"}.isdisjoint(found)
    assert diagnosis.pages(found.values()) == ("runbooks/table-is-locked.md",)


def test_a_server_with_a_locked_table_is_still_known(live: Live, open_sessions: ExitStack) -> None:
    live.spoilt = True
    as_app(live, open_sessions).execute("LOCK TABLE memory_plugin.memory_records IN ACCESS EXCLUSIVE MODE")
    found = observed(live)
    assert found.server is not None
    assert len(found.server.ledger) > 5
    assert found.server.unread in ("", "canceling statement due to lock timeout")
    (line,) = found.activity.holders(BLOCKS_READERS)
    assert "holds AccessExclusiveLock on memory_plugin.memory_records: LOCK TABLE memory_plugin.memory_records" in line


_NAMESPACE = "INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('workspace:one', 'workspace')"


def test_a_session_that_only_works_is_nobodys_culprit(live: Live, open_sessions: ExitStack) -> None:
    session = as_app(live, open_sessions)
    session.execute("SELECT count(*) FROM memory_plugin.memory_records")
    session.execute(_NAMESPACE)
    assert activity(live).holders(BLOCKS_WRITERS) == []
    session.rollback()


def test_a_session_that_another_waits_for_is_named_whatever_it_holds(live: Live, open_sessions: ExitStack) -> None:
    live.spoilt = True
    first, second = as_app(live, open_sessions, "first"), as_app(live, open_sessions, "second")
    first.execute(_NAMESPACE)
    waiting = Thread(target=second.execute, args=[_NAMESPACE])
    waiting.start()
    deadline = time.monotonic() + 5  # the role's own lock_timeout comes later
    while not (lines := activity(live).holders(BLOCKS_WRITERS)) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.rollback()
    waiting.join()
    assert "application first" in lines[0]
    assert "holds what 1 others wait for" in lines[0]


def test_used_up_connections_turn_no_check_red_and_their_users_are_named(live: Live, open_sessions: ExitStack) -> None:
    live.sql("ALTER ROLE memory_app_a CONNECTION LIMIT 2")
    for _ in range(2):
        as_app(live, open_sessions, "pool")
    assert {*red(live)} == {"rights"}  # the limit of 2 alone
    users = "2 of 2 connections of memory_app_a are used: 2 by memory_app_a (application pool, from 127.0.0.1)"
    assert users in activity(live).full()


def test_a_database_without_a_free_connection_keeps_its_own_reader_out_and_those_who_use_it_are_named(
    live: Live, open_sessions: ExitStack
) -> None:
    deadline = time.monotonic() + 5
    while activity(live).sessions and time.monotonic() < deadline:
        time.sleep(0.05)  # a session of the test before may still be ending
    live.sql("ALTER DATABASE memory CONNECTION LIMIT 1")
    as_app(live, open_sessions)
    try:
        found = observed(live)
    finally:
        live.sql("ALTER DATABASE memory CONNECTION LIMIT -1")
    assert found.server is None
    problem = diagnosis.problem("acme", found.server_error, activity=found.activity)
    assert problem.fact.startswith(
        'acme: its server has no free connection: too many connections for database "memory"; '
        "1 of 1 connections of database memory are used: 1 by memory_app_a (application worker, from 127.0.0.1)"
    )


CLOSED = {
    "invalid": ("UPDATE pg_database SET datconnlimit = -2", 'cannot connect to invalid database "memory"'),
    "closed": ("ALTER DATABASE memory ALLOW_CONNECTIONS false", "is not currently accepting connections"),
}


@pytest.mark.parametrize("what", CLOSED)
def test_a_database_that_lets_nobody_in_is_named_and_its_servers_advice_to_drop_it_is_not_passed_on(
    live: Live, what: str
) -> None:
    statement, says = CLOSED[what]
    where = " WHERE datname = 'memory'" if what == "invalid" else ""
    with live.cluster.connect() as session:
        session.execute(f"{statement}{where}".encode())
    live.spoilt = True
    try:
        found = observed(live)
        problem = diagnosis.problem("acme", found.server_error)
    finally:
        with live.cluster.connect() as session:
            session.execute("UPDATE pg_database SET datconnlimit = -1, datallowconn = true WHERE datname = 'memory'")
    assert found.server is None
    assert problem.fact.startswith("acme: its database lets nobody in: ")
    assert says in problem.fact
    assert "DROP" not in str(problem)
    assert problem.hint == "deploy nothing; runbooks/database-is-closed.md"


def test_a_ledger_that_its_reader_may_not_read_is_a_matter_of_rights(live: Live) -> None:
    live.sql("REVOKE USAGE ON SCHEMA memory_ledger FROM memory_monitor")
    found = observed(live)
    problem = diagnosis.problem("acme", found.server_error)
    assert problem.fact == (
        "acme: an owner or a right is not the wanted one: permission denied for schema memory_ledger"
    )
    assert problem.hint == "runbooks/owner-is-wrong.md"


def test_a_table_of_another_owner_is_red_and_leads_to_its_own_page(live: Live) -> None:
    live.sql("ALTER TABLE memory_plugin.memory_records OWNER TO postgres")
    found = red(live)
    assert "memory_plugin.memory_records is owned by postgres, wanted memory_owner" in found["schema"]
    assert "runbooks/owner-is-wrong.md" in diagnosis.pages(found.values())


def test_a_schema_newer_than_this_release_is_red_and_leads_to_its_own_page(live: Live) -> None:
    live.sql(
        "INSERT INTO memory_ledger.event (component, version, ordinal, name, kind, state, template_sha256,"
        " rendered_sha256, body, parameters, needs, runner)"
        " VALUES ('memory_plugin', '0099', 1, 'later', 'versioned', 'applied', '', '', '', '{}', '{}', '9.9')"
    )
    found = red(live)
    assert found["ledger"] == "memory_plugin 0099_later is applied, these files end at 0001"
    assert "runbooks/schema-is-newer.md" in diagnosis.pages(found.values())


def test_a_server_that_stops_says_so_and_nobody_is_told_to_stop_it() -> None:
    with running_server(18) as cluster, cluster.connect() as session:
        session.execute("SELECT 1")
        pid = int((cluster.home / "data/postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGTERM)  # it waits for the session
        said = ""
        while "shutting down" not in said:
            try:
                cluster.connect().close()
            except psycopg.OperationalError as error:
                said = str(error)
        problem = diagnosis.problem("acme", said)
    assert problem.fact == (
        "acme: its server is starting, stopping or in recovery: the database system is shutting down"
    )
    assert problem.hint.endswith("runbooks/server-is-starting.md")
