"""What a runner survives: its own death at any step, other runners, long transactions, a killed backend."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgberth.migrations import runner
from pgberth.migrations.session import Connect, RetryPolicy, locked
from pgberth.migrations.verify import findings
from pgberth.model.killpoint import VARIABLE
from pgberth.model.problems import Refused
from tests.migrations.conftest import HASTY
from tests.migrations.one_run import run
from tests.migrations.test_runner import ALL, done, events, states
from tests.migrations.tree import INDEX, Tree, dump, notes
from tests.postgres import Database, Server, new_database

PROJECT = Path(__file__).resolve().parents[2]

STEPS = [
    "migrate.notes.locked",
    *(f"migrate.notes.{version}.{moment}" for version in ALL for moment in ("started", "ran", "applied")),
]


def start(database: Database, root: Path, *components: str, **environment: str) -> subprocess.Popen[str]:
    """A runner in a process of its own."""
    command = [sys.executable, "-m", "tests.migrations.one_run", database.conninfo(), str(root), *components]
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}/deploy"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """(return code, output) of a runner's process."""
    output = process.communicate(timeout=60)[0]
    return process.returncode, output


def slow_index(database: Database, connect: Connect, tree: Tree, rows: int = 100) -> None:
    """From here on 0002 takes a hundredth of a second a row, so that there is time to get in its way."""
    tree.write("0002_index", up=INDEX["up"].replace("length(body)", "notes.slow(body)"))
    runner.apply(connect, "notes", to="0001", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute(
        "CREATE FUNCTION notes.slow(text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_catalog.pg_sleep(0.01); RETURN 1; END'"
    )
    owner.execute("INSERT INTO notes.note (body) SELECT n::text FROM generate_series(1, %s) AS n", [rows])


def eventually(true: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s")


def one(database: Database, query: str) -> Any:
    row = database.connect("postgres").execute(query.encode()).fetchone()
    return row and row[0]


BUILDING = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database()"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


@pytest.fixture(scope="module")
def undisturbed(postgres18: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The schema as a run makes it that nothing happened to."""
    root = notes(tmp_path_factory.mktemp("sql")).root
    with new_database(postgres18, "tenant_template", "undisturbed") as database:
        runner.apply(partial(postgres18.connect, "memory_migrator", database.name), "notes", root=root)
        return dump(database)


@pytest.mark.parametrize("step", STEPS)
def test_a_runner_killed_at_any_step_is_finished_by_the_next(
    database: Database, connect: Connect, tree: Tree, undisturbed: str, step: str
) -> None:
    assert ended(start(database, tree.root, "notes", **{VARIABLE: step})) == (-signal.SIGKILL, "")
    finished = runner.apply(connect, "notes", root=tree.root)
    assert states(database) == dict.fromkeys(ALL, "applied")
    # The versions that were done before the kill were not done again.
    applied = [version for version, state in events(database) if state == "applied" and version[0] != "R"]
    assert applied == ["0000", "0001", "0002"]
    assert dump(database) == undisturbed
    assert findings(database.connect("memory_owner"), finished.done) == ()
    assert done(runner.apply(connect, "notes", root=tree.root)) == []


def test_a_step_that_a_run_does_not_pass_kills_nothing(database: Database, tree: Tree) -> None:
    assert ended(start(database, tree.root, "notes", **{VARIABLE: "migrate.notes.0009.ran"}))[0] == 0


@pytest.mark.parametrize("step", ["migrate.notes.0002.undone", "migrate.notes.0002.reverted"])
def test_a_revert_killed_in_the_middle_is_finished_by_the_next(
    database: Database, connect: Connect, tree: Tree, step: str
) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    there = dump(database)
    runner.apply(connect, "notes", root=tree.root)
    code = (
        "import sys, psycopg, pathlib; from pgberth.migrations import runner;"
        "runner.revert(lambda: psycopg.connect(sys.argv[1], autocommit=True), 'notes', '0001',"
        " root=pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, database.conninfo(), str(tree.root)]
    killed = subprocess.run(command, env=os.environ | {VARIABLE: step}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert states(database)["0002"] == ("applied" if step.endswith("undone") else "reverted")
    runner.revert(connect, "notes", "0001", root=tree.root)
    assert states(database)["0002"] == "reverted"
    owner = database.connect("memory_owner")
    owner.execute("DROP TRIGGER append_only ON notes.note")
    owner.execute("DROP FUNCTION notes.refuse()")
    owner.execute("REVOKE ALL ON notes.note FROM memory_app")
    assert dump(database) == there


@pytest.fixture(scope="module")
def eight() -> Iterator[ProcessPoolExecutor]:
    """Eight processes that wait for work: starting them for each trial would take longer than the trials."""
    with ProcessPoolExecutor(8, multiprocessing.get_context("forkserver")) as pool:
        yield pool


@pytest.mark.sampled(5)
@pytest.mark.parametrize("trial", range(20))
def test_eight_runners_at_once_do_each_step_once(
    database: Database, connect: Connect, tree: Tree, eight: ProcessPoolExecutor, trial: int
) -> None:
    tree.write("0001_table", up=tree.path("0001_table.up.sql.j2").read_text() + (
        "INSERT INTO notes.note (body) SELECT n::text FROM generate_series(1, 500) AS n;\n"
    ))  # fmt: skip
    at = time.time() + 0.05
    runners = [eight.submit(run, database.conninfo(), str(tree.root), "notes", at=at) for _ in range(8)]
    did = [version for runner in runners for version in runner.result(timeout=60)]
    assert len(eight._processes) == 8
    assert sorted(did) == ALL
    assert [event for event in events(database) if event[1] == "applied"] == [(v, "applied") for v in ALL]
    assert one(database, INVALID) == 0


def test_a_backend_killed_in_the_middle_of_an_index_build_is_made_good_by_the_next_run(
    database: Database, connect: Connect, tree: Tree
) -> None:
    slow_index(database, connect, tree, rows=300)  # time enough to be found at work on a busy machine
    process = start(database, tree.root, "notes")
    pid = eventually(lambda: one(database, BUILDING))
    time.sleep(0.2)
    one(database, f"SELECT pg_terminate_backend({pid})")
    code, output = ended(process)
    assert code == 1
    assert json.loads(output)["refused"][0].startswith("notes 0002_index: terminating connection")
    assert one(database, INVALID) == 1
    assert states(database)["0002"] == "started"
    assert done(runner.apply(connect, "notes", root=tree.root)) == ALL[2:]
    assert one(database, INVALID) == 0
    assert one(database, "SELECT count(*) FROM pg_class WHERE relname LIKE 'note_length%'") == 1


def test_a_runner_killed_in_the_middle_of_an_index_build_frees_its_lock_soon(
    database: Database, connect: Connect, tree: Tree
) -> None:
    slow_index(database, connect, tree, rows=3000)  # half a minute and more, if nothing stopped it
    process = start(database, tree.root, "notes")
    eventually(lambda: one(database, BUILDING))
    process.kill()
    ended(process)
    tree.write("0002_index", up=INDEX["up"])  # it never ended, so its file may be mended
    began = time.monotonic()
    assert done(runner.apply(connect, "notes", root=tree.root)) == ALL[2:]
    assert time.monotonic() - began < 25
    assert one(database, INVALID) == 0


def test_the_holder_of_the_lock_is_named_when_patience_ends(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", to="0000", root=tree.root)
    holder = psycopg.connect(database.conninfo(), autocommit=True, application_name="pgberth migrate: ann@desk pid 1")
    pid = holder.info.backend_pid
    with holder, locked(holder, "notes", HASTY), pytest.raises(Refused) as refused:
        runner.apply(connect, "notes", root=tree.root, retry=HASTY)
    (problem,) = refused.value.problems
    since = holder_since(problem.fact)
    assert problem.fact == (
        f"notes is being migrated by pid {pid} (pgberth migrate: ann@desk pid 1), since {since}; waited 0.4 s"
    )
    assert since.startswith("20")
    assert done(runner.apply(connect, "notes", root=tree.root, retry=HASTY)) == ALL[1:]


def holder_since(fact: str) -> str:
    return fact.partition(", since ")[2].partition(";")[0]


def test_components_do_not_wait_for_each_other(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", to="0000", root=tree.root)
    with connect() as holder, locked(holder, "other", HASTY):
        assert done(runner.apply(connect, "notes", root=tree.root, retry=HASTY)) == ALL[1:]


def test_a_table_lock_in_the_way_is_tried_again_until_it_is_gone(
    database: Database, connect: Connect, tree: Tree
) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    tree.write("0002_index", up="ALTER TABLE notes.note ADD COLUMN extra text;", verify="SELECT 1, 2, 3 WHERE false")
    reader = database.connect("postgres")
    reader.execute("BEGIN")
    reader.execute("SELECT FROM notes.note")
    began = time.monotonic()
    threading.Timer(0.5, reader.execute, ["COMMIT"]).start()
    retry = RetryPolicy(table_lock_ms=100, attempts=200, pause_seconds=0.02)
    assert "0002" in done(runner.apply(connect, "notes", root=tree.root, retry=retry))
    assert time.monotonic() - began > 0.4
    assert one(database, "SELECT count(*) FROM pg_attribute WHERE attname = 'extra'") == 1


def test_a_table_lock_that_stays_is_named_with_its_holder_and_nothing_changes(
    database: Database, connect: Connect, tree: Tree
) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    tree.write("0002_index", up="ALTER TABLE notes.note ADD COLUMN extra text;", verify="SELECT 1, 2, 3 WHERE false")
    reader = psycopg.connect(database.conninfo("postgres"), application_name="a long report")
    pid = reader.info.backend_pid
    before = dump(database)
    with reader:
        reader.execute("SELECT FROM notes.note")
        with pytest.raises(Refused) as refused:
            runner.apply(connect, "notes", root=tree.root, retry=HASTY)
    fact = refused.value.problems[0].fact
    assert "canceling statement due to lock timeout, 3 times; " in fact
    assert f"pid {pid} postgres (a long report) holds AccessShareLock on notes.note" in fact
    assert dump(database) == before
    assert states(database) == {"0000": "applied", "0001": "applied"}
    assert events(database)[-1] == ("0002", "failed")


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE"])
def test_a_table_locked_for_ever_does_not_hold_up_the_building_of_an_index(
    database: Database, connect: Connect, tree: Tree, mode: str
) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    holder = database.connect("postgres")
    holder.execute("INSERT INTO notes.note (body) VALUES ('one')")
    holder.execute(f"BEGIN; LOCK TABLE notes.note IN {mode} MODE".encode())
    with pytest.raises((Refused, psycopg.errors.LockNotAvailable), match="canceling statement due to lock timeout"):
        runner.apply(connect, "notes", root=tree.root, retry=replace(HASTY, attempts=1))
    holder.execute("ROLLBACK")
    assert "0002" in done(runner.apply(connect, "notes", root=tree.root))


def test_a_deadlock_is_tried_again(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute("CREATE TABLE notes.other ()")
    tree.write(
        "0002_index",
        up="LOCK TABLE notes.note IN SHARE MODE; SELECT pg_catalog.pg_sleep(0.3);"
        " LOCK TABLE notes.other IN ACCESS EXCLUSIVE MODE;",
        verify="SELECT 1, 2, 3 WHERE false",
    )
    other = database.connect("postgres")
    other.execute("SET deadlock_timeout = '100s'")  # so that the runner is the one who finds out, and loses
    other.execute("BEGIN")
    other.execute("LOCK TABLE notes.other IN SHARE MODE")

    def close_the_circle() -> None:
        other.execute("LOCK TABLE notes.note IN ACCESS EXCLUSIVE MODE")
        other.execute("ROLLBACK")

    circle = threading.Timer(0.15, close_the_circle)
    circle.start()
    retry = RetryPolicy(table_lock_ms=5000, attempts=6, pause_seconds=0.02)
    assert "0002" in done(runner.apply(connect, "notes", root=tree.root, retry=retry))
    circle.join()


def test_a_session_that_is_idle_in_its_transaction_gives_up_its_locks(connect: Connect) -> None:
    with runner.running(connect, "notes", HASTY) as session:
        row = session.execute("SHOW idle_in_transaction_session_timeout").fetchone()
        assert row == ("1min",)
        assert session.execute("SHOW client_connection_check_interval").fetchone() == ("1s",)
        assert session.execute("SHOW search_path").fetchone() == ("pg_catalog, pg_temp",)
