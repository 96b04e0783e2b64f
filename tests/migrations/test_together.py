"""The real components, all of one tenant: at once, made anew, and in no time where there is nothing to do."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from pgberth.migrations import ledger, runner
from pgberth.migrations.drift import differences, snapshot
from pgberth.migrations.fresh import rebuild
from pgberth.migrations.ledger import Connection
from pgberth.migrations.plan import plan_up
from pgberth.migrations.session import RetryPolicy, shared
from pgberth.migrations.source import SQL_ROOT, components
from pgberth.rendering.sql import read_sql
from tests.contract.components import DIMENSION, bring_up, migrator
from tests.migrations.test_faults import INVALID, ended, one, start
from tests.migrations.test_runner import heads
from tests.postgres import Database
from tests.sampling import often


def tenant(database: Database) -> Database:
    """A tenant with everything: all components, a registered model, the gates open."""
    for component in components():
        bring_up(database, component)
    return database


@pytest.mark.parametrize("trial", range(often(1, whole=20)))
def test_eight_runners_of_all_components_at_once_do_each_step_once(database: Database, trial: int) -> None:
    orders = [random.Random(f"{trial} {n}").sample(components(), len(components())) for n in range(8)]  # noqa: S311
    processes = [start(database, SQL_ROOT, *order) for order in orders]
    results = [ended(process) for process in processes]
    assert [code for code, _ in results] == [0] * 8, results
    did = [version for _, output in results for version in json.loads(output)["done"]]
    assert len(did) == len(heads(database))
    assert {head.state for head in heads(database)} == {"applied"}
    assert one(database, INVALID) == 0


def stamp(connection: Connection, _: object) -> bool:
    column = f"ALTER TABLE knowledge.knowledge_nodes ALTER embedding TYPE public.vector({DIMENSION})"
    connection.execute(column.encode())
    return True


def test_a_tenant_differs_in_nothing_from_one_made_anew(
    database: Database, new_tenant_database: Callable[[], Database]
) -> None:
    live, fresh = tenant(database), new_tenant_database()
    with shared(migrator(fresh)) as connect:
        for component in components():
            rebuild(connect, component, heads(live), actions={"register_model": stamp})
    desired = snapshot(fresh.connect("postgres"), components())
    found = snapshot(live.connect("postgres"), components())
    assert len(found) > 1000
    assert differences(desired, found) == ()


def test_a_shared_session_outlives_a_refusal_and_is_replaced_when_it_dies(database: Database) -> None:
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(migrator(database)())
        return opened[-1]

    with shared(connect) as one_session:
        with pytest.raises(Exception, match="has no version 0099"):
            runner.apply(one_session, "knowledge", to="0099")
        assert runner.apply(one_session, "knowledge", to="0001").done
        assert len(opened) == 1
        one(database, f"SELECT pg_terminate_backend({opened[0].info.backend_pid})")
        with pytest.raises(Exception, match="terminating connection"):
            runner.apply(one_session, "memory_plugin")
        assert runner.apply(one_session, "memory_plugin", retry=RetryPolicy(lock_seconds=5)).done
        assert len(opened) == 2
    assert [connection.closed for connection in opened] == [True, True]


def test_there_is_nothing_to_do_at_head(database: Database) -> None:
    """What it takes to know that is measured in tests/bench."""
    found = heads(tenant(database))
    row = database.connect("postgres").execute(read_sql("migrations/heads.sql")).fetchone()
    assert row is not None
    for rows in (found, ledger.heads_of(row[0])):
        assert [plan_up(component, rows).steps for component in components()] == [(), (), ()]
