"""How long a full set takes, against psql with the same SQL."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from pgberth.migrations import runner
from pgberth.migrations.ledger import Connection
from pgberth.migrations.session import shared
from pgberth.migrations.source import components, load
from tests.contract.components import DIMENSION, migrator, parameters
from tests.postgres import Database, Server, _prepare, new_database, running_server

Work = Callable[[Database], None]

STAMP = f"ALTER TABLE knowledge.knowledge_nodes ALTER embedding TYPE public.vector({DIMENSION});\n"
# A tenant's server flushes each commit, and that is a part of what either way of applying costs.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
PARAMETERS = {component: parameters(component) for component in components()}


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


def test_the_full_set_takes_at_most_one_and_a_half_times_what_psql_takes(tmp_path: Path) -> None:
    (tmp_path / "all.sql").write_text(script())

    def psql(database: Database) -> None:
        command = [str(database.server.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.conninfo()]
        subprocess.run([*command, "-f", str(tmp_path / "all.sql")], stdout=subprocess.DEVNULL, check=True)

    taken: dict[Work, list[float]] = {psql: [], ours: []}
    with running_server(18, DURABLE, in_memory=False) as server:
        _prepare(server, "tenant_template", extension=True)
        for work in [psql, ours] * 9:  # in turn, so that whatever else the machine does meets both
            taken[work].append(seconds(server, work))
    floor, mine = statistics.median(taken[psql]), statistics.median(taken[ours])
    print(f"psql {floor * 1000:.0f} ms, runner {mine * 1000:.0f} ms, ratio {mine / floor:.2f}")
    assert mine < 1.5 * floor


def seconds(server: Server, work: Work) -> float:
    with new_database(server, "tenant_template", "bench") as database:
        began = time.perf_counter()
        work(database)
        return time.perf_counter() - began
