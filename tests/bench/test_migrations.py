"""How long migrations take, and how long it takes to know that there are none to apply."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgberth.migrations import ledger, runner
from pgberth.migrations.ledger import Connection
from pgberth.migrations.plan import plan_up
from pgberth.migrations.session import shared
from pgberth.migrations.source import SQL_ROOT, components, load
from pgberth.rendering.sql import read_sql
from tests.bench.figures import Figure, middle, ms, s, seconds, take
from tests.contract.components import DIMENSION, bring_up, migrator, parameters
from tests.migrations.test_faults import INVALID, ended, one, start
from tests.postgres import Database, Server, _prepare, new_database, running_server

Work = Callable[[Database], object]

STAMP = f"ALTER TABLE knowledge.knowledge_nodes ALTER embedding TYPE public.vector({DIMENSION});\n"
# A tenant's server flushes each commit, and that is a part of what either way of applying costs.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
PARAMETERS = {component: parameters(component) for component in components()}
PAIRS, ROUNDS, TENANTS, AT_ONCE = 15, 9, 100, 8


@pytest.fixture(scope="module")
def durable() -> Iterator[Server]:
    with running_server(18, DURABLE, in_memory=False) as server:
        _prepare(server, "tenant_template", extension=True)
        yield server


@pytest.fixture
def at_head(database: Database) -> Database:
    """A tenant with everything: all components, a registered model, no step left."""
    for component in components():
        bring_up(database, component)
    return database


def stamp(connection: Connection) -> bool:
    connection.execute(STAMP.encode())
    return True


def ours(database: Database) -> None:
    with shared(migrator(database)) as connect:
        for component, given in PARAMETERS.items():
            if "registered_model" in given:
                runner.apply(connect, component, to="0001")
                runner.run_code(connect, component, "register_model", given, stamp, after=("0001",))
            runner.apply(connect, component, given)


def script() -> str:
    """The same statements for psql, the stamp of register_model before what waits for it."""
    text = "SET ROLE memory_owner;\nSET search_path = pg_catalog, pg_temp;\n"
    for component, given in PARAMETERS.items():
        for migration in load(component, given):
            text += STAMP if "registered_model" in migration.gate else ""
            text += migration.up
    return text


def test_the_full_set_takes_at_most_1_5_times_what_psql_takes(durable: Server, tmp_path: Path) -> None:
    (tmp_path / "all.sql").write_text(script())

    def psql(database: Database) -> None:
        command = [str(database.server.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.conninfo()]
        subprocess.run([*command, "-f", str(tmp_path / "all.sql")], stdout=subprocess.DEVNULL, check=True)

    on_an_empty_database(durable, ours)  # a deploy has rendered its files before it comes to this
    pairs = [(on_an_empty_database(durable, psql), on_an_empty_database(durable, ours)) for _ in range(PAIRS)]
    floor, mine = (middle(column) for column in zip(*pairs, strict=True))
    take(Figure("full set of migrations, to psql -f", ms(mine), ms(floor), middle(b / a for a, b in pairs), 1.5))


def on_an_empty_database(server: Server, work: Work) -> float:
    with new_database(server, "tenant_template", "bench") as database:
        return seconds(lambda: work(database))


def nothing_to_do(session: Connection) -> None:
    row = session.execute(read_sql("migrations/heads.sql")).fetchone()
    assert row is not None
    heads = ledger.heads_of(row[0])
    assert [plan_up(component, heads).steps for component in components()] == [(), (), ()]


def test_a_plan_with_nothing_to_do_takes_at_most_30_ms(at_head: Database) -> None:
    """From the rows of heads.sql, in a session that is open already, as a deploy has them from its one look."""
    with at_head.server.connect("postgres", at_head.name) as session:
        floor = middle(seconds(lambda: session.execute("SELECT 1").fetchone()) for _ in range(ROUNDS))
        mine = middle(seconds(lambda: nothing_to_do(session)) for _ in range(ROUNDS))
    take(Figure("plan with nothing to do, to 30 ms", ms(mine), f"{ms(floor)} SELECT 1", mine / 0.030, 1.0))


def test_a_run_with_nothing_to_do_takes_at_most_30_ms_a_tenant(at_head: Database) -> None:
    """The runner itself: a session of its own, the locks of all three components, the plans."""

    def run() -> None:
        with shared(migrator(at_head)) as connect:
            assert [runner.apply(connect, component).done for component in components()] == [(), (), ()]

    def session() -> None:
        migrator(at_head)().close()

    floor = middle(seconds(session) for _ in range(ROUNDS))
    mine = middle(seconds(run) for _ in range(ROUNDS))
    take(Figure("run with nothing to do, to 30 ms", ms(mine), f"{ms(floor)} a session", mine / 0.030, 1.0))


def test_to_plan_a_hundred_tenants_at_head_takes_at_most_3_s(at_head: Database) -> None:
    """One after the other, each with a session of its own and the rows of heads.sql."""

    def sessions(work: Callable[[Connection], object]) -> None:
        for _ in range(TENANTS):
            with at_head.server.connect("postgres", at_head.name) as session:
                work(session)

    floor = seconds(lambda: sessions(lambda session: session.execute("SELECT 1").fetchone()))
    mine = seconds(lambda: sessions(nothing_to_do))
    take(Figure(f"plans of {TENANTS} tenants at head, to 3 s", s(mine), f"{s(floor)} sessions", mine / 3.0, 1.0))


def test_eight_runners_at_once_on_one_database_do_each_step_once(
    new_tenant_database: Callable[[], Database],
) -> None:
    """Processes, each with the components in an order of its own. What they take is told beside what one takes."""
    alone, together = new_tenant_database(), new_tenant_database()
    floor = seconds(lambda: done(alone, 1))
    did: list[str] = []
    mine = seconds(lambda: did.extend(done(together, AT_ONCE)))
    heads = [head for component in components() for head in ledger.heads(together.connect("memory_owner"), component)]
    assert sorted(did) == sorted(head.version for head in heads)
    assert {head.state for head in heads} == {"applied"}
    assert one(together, INVALID) == 0
    take(Figure(f"{AT_ONCE} runners at once", s(mine), f"{s(floor)} one runner", mine / floor))


def done(database: Database, processes: int) -> list[str]:
    """Versions that so many runners have applied between them."""
    orders = [random.Random(n).sample(components(), len(components())) for n in range(processes)]  # noqa: S311
    results = [ended(process) for process in [start(database, SQL_ROOT, *order) for order in orders]]
    assert [code for code, _ in results] == [0] * processes, results
    return [version for _, output in results for version in json.loads(output)["done"]]
