"""
Append-only against logical replication, which fires triggers for rows and none for statements.

The reason why the histories have both: with the one for statements alone, the deletion below goes through.
"""

from __future__ import annotations

import contextlib
import time

from psycopg import sql

from tests.contract.catalogue import Session
from tests.contract.components import bring_up
from tests.contract.samples import filling
from tests.postgres import Database, Server, _prepare, running_server

SETTINGS = {"wal_level": "logical", "max_wal_senders": "4", "max_replication_slots": "4"}
SECONDS = 20


def test_a_subscription_cannot_replay_a_deletion() -> None:
    with running_server(18, SETTINGS) as server, contextlib.ExitStack() as opened:
        _prepare(server, "tenant_template", extension=False)
        source, copy = (
            opened.enter_context(contextlib.closing(control_plane(server, name))) for name in ("source", "copy")
        )
        publisher, subscriber = source.connect("postgres"), copy.connect("postgres")
        source.connect("memory_app_a").execute(filling("control_plane"))
        subscribe(source, publisher, subscriber)
        until(subscriber, "SELECT count(*) = 1 FROM control_plane.task_checkpoint")

        publisher.execute("ALTER TABLE control_plane.task_checkpoint DISABLE TRIGGER ALL")
        publisher.execute("DELETE FROM control_plane.task_checkpoint")
        until(subscriber, "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats")

        subscriber.execute("ALTER SUBSCRIPTION s DISABLE")
        assert subscriber.execute("SELECT count(*) FROM control_plane.task_checkpoint").fetchone() == (1,)


def control_plane(server: Server, name: str) -> Database:
    """A database with the control plane; it goes with its server."""
    names: dict[str, sql.Composable] = {"name": sql.Identifier(name)}
    server.run("CREATE DATABASE {name} TEMPLATE tenant_template OWNER memory_owner", names)
    database = Database(server, name)
    bring_up(database, "control_plane", {})
    return database


def subscribe(source: Database, publisher: Session, subscriber: Session) -> None:
    publisher.execute("CREATE PUBLICATION p FOR TABLE control_plane.task_run, control_plane.task_checkpoint")
    # Made apart: within one server, CREATE SUBSCRIPTION would wait for its own transaction.
    publisher.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    connection = source.conninfo("postgres")
    subscriber.execute(
        f"CREATE SUBSCRIPTION s CONNECTION '{connection}' PUBLICATION p"
        " WITH (create_slot = false, slot_name = 's')".encode()
    )


def until(session: Session, query: str) -> None:
    """Wait until the query says true."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if session.execute(query.encode()).fetchone() == (True,):
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {SECONDS} s: {query}")
