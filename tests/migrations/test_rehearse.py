"""A rehearsal tells SQL, locks and changes, and leaves the live database as it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from pgberth.migrations import runner
from pgberth.migrations.ledger import Connection
from pgberth.migrations.rehearse import DROP_SCRIPT, SCRATCH, SCRATCH_SCRIPT, Rehearsal, rehearse
from pgberth.migrations.session import Connect
from pgberth.model.diagnosis import LOCK, diagnose
from pgberth.model.problems import Refused
from tests.migrations.test_runner import events
from tests.migrations.tree import Tree, dump
from tests.postgres import Database, Server

ALTER = {
    "up": "ALTER TABLE notes.note ADD COLUMN extra text;\nCREATE TABLE notes.child (\n"
    "  of bigint CONSTRAINT child_fk REFERENCES notes.note (id)\n);\n",
    "down": "DROP TABLE notes.child; ALTER TABLE notes.note DROP COLUMN extra;",
    "verify": "SELECT 1, 2, 3 WHERE false",
}


def shell(server: Server, script: str, *arguments: str) -> None:
    done = beside(server, script, *arguments)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def beside(server: Server, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script as the superuser beside the server, in a container's place."""
    environment = os.environ | {
        "PATH": f"{server.bin}:{os.environ['PATH']}",
        "PGHOST": str(server.home),
        "PGPORT": str(server.port),
        "PGUSER": "postgres",
    }
    command = ["sh", "-s", "--", *arguments]
    return subprocess.run(command, input=script, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def scratch(database: Database) -> Iterator[Connect]:
    """Sessions with the copy, which is made when the first is asked for."""
    made = False

    def connect() -> Connection:
        nonlocal made
        if not made:
            shell(database.server, SCRATCH_SCRIPT, database.name)
            made = True
        return database.server.connect("memory_migrator", SCRATCH)

    yield connect
    shell(database.server, DROP_SCRIPT)


def locks(rehearsal: Rehearsal) -> dict[str, list[tuple[str, str]]]:
    return {step.migration.version: [(lock.table, lock.mode) for lock in step.locks] for step in rehearsal.steps}


def test_a_rehearsal_tells_sql_locks_and_changes(
    database: Database, connect: Connect, scratch: Connect, tree: Tree
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    tree.write("0003_extra", **ALTER)
    before = (dump(database), events(database, "*"))
    rehearsal = rehearse(connect, scratch, "notes", root=tree.root)
    assert [step.migration.version for step in rehearsal.steps] == ["0003", "R0_grants", "R1_trigger"]
    assert rehearsal.steps[0].migration.up == ALTER["up"]
    assert locks(rehearsal) == {
        "0003": [("notes.note", "AccessExclusiveLock")],
        "R0_grants": [],
        "R1_trigger": [("notes.note", "ShareRowExclusiveLock")],
    }
    assert {change.as_change for change in rehearsal.changes} >= {
        "adds column notes.note.extra",
        "adds table notes.child",
        "adds constraint notes.child.child_fk",
    }
    assert (dump(database), events(database, "*")) == before
    runner.apply(connect, "notes", root=tree.root)


def test_a_rehearsal_of_nothing_says_so(connect: Connect, scratch: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    assert rehearse(connect, scratch, "notes", root=tree.root) == Rehearsal("notes", (), (), ())


def test_a_rehearsal_of_everything_starts_from_an_empty_database(
    database: Database, connect: Connect, scratch: Connect, tree: Tree
) -> None:
    rehearsal = rehearse(connect, scratch, "notes", to="0001", root=tree.root)
    assert [step.migration.version for step in rehearsal.steps] == ["0000", "0001"]
    assert "adds table notes.note" in [change.as_change for change in rehearsal.changes]
    assert "notes" not in dump(database)


@pytest.mark.parametrize(("rows", "mode"), [(0, "ShareLock"), (1, "ShareUpdateExclusiveLock")])
def test_an_index_takes_the_lock_that_the_live_rows_call_for(
    database: Database, connect: Connect, scratch: Connect, tree: Tree, rows: int, mode: str
) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute("INSERT INTO notes.note (body) SELECT n::text FROM generate_series(1, %s) AS n", [rows])
    assert locks(rehearse(connect, scratch, "notes", root=tree.root))["0002"] == [("notes.note", mode)]


def test_a_step_that_would_fail_fails_in_the_rehearsal_only(
    database: Database, connect: Connect, scratch: Connect, tree: Tree
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    tree.write("0003_extra", **{**ALTER, "up": "ALTER TABLE notes.note ADD COLUMN body text;"})
    before = (dump(database), events(database, "*"))
    with pytest.raises(Refused, match='column "body" of relation "note" already exists'):
        rehearse(connect, scratch, "notes", root=tree.root)
    assert (dump(database), events(database, "*")) == before


def test_a_copy_that_is_not_the_live_schema_is_refused(
    database: Database, connect: Connect, scratch: Connect, tree: Tree
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    scratch().close()
    database.connect("memory_owner").execute("CREATE TABLE notes.since ()")
    with pytest.raises(Refused, match=r"notes: the copy differs: table notes\.since is missing"):
        rehearse(connect, scratch, "notes", root=tree.root)


def test_a_rehearsal_stays_within_the_migrators_connections(
    database: Database, connect: Connect, scratch: Connect, tree: Tree
) -> None:
    superuser = database.connect("postgres")
    superuser.execute("ALTER ROLE memory_migrator CONNECTION LIMIT 3")
    try:
        assert len(rehearse(connect, scratch, "notes", root=tree.root).steps) == 5
    finally:
        superuser.execute("ALTER ROLE memory_migrator CONNECTION LIMIT -1")


def test_a_copy_does_not_take_over_who_may_call_the_servers_own_functions(
    database: Database, connect: Connect, scratch: Connect, tree: Tree
) -> None:
    """As the product closes and opens them in a live database: the copy's owner could grant none of it."""
    runner.apply(connect, "notes", root=tree.root)
    superuser = database.connect("postgres")
    superuser.execute("REVOKE EXECUTE ON FUNCTION pg_advisory_lock(bigint) FROM PUBLIC")
    superuser.execute("GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(integer, integer) TO memory_owner")
    with scratch() as copy:
        query = "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ 'advisory'"
        assert copy.execute(f"{query} AND proacl IS NOT NULL".encode()).fetchall() == []


def test_a_copy_gives_up_on_a_table_that_somebody_keeps(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    script = SCRATCH_SCRIPT.replace("--lock-wait-timeout=10s", "--lock-wait-timeout=200ms")
    assert script != SCRATCH_SCRIPT
    keeps = database.connect("memory_owner")
    with keeps.transaction():
        keeps.execute("LOCK TABLE notes.note")
        done = beside(database.server, script, database.name)
    assert done.returncode != 0
    assert diagnose(done.stderr) is LOCK, done.stderr
