"""What holds no data is put back; the rest is named and left alone."""

from __future__ import annotations

import pytest

from pgberth.migrations import runner
from pgberth.migrations.repair import repair
from pgberth.migrations.session import Connect
from tests.migrations.test_faults import INVALID, one
from tests.migrations.test_runner import events
from tests.migrations.tree import INDEX, Tree, dump
from tests.postgres import Database

DAMAGE = [
    ("an index", "DROP INDEX notes.note_body", "0001: index notes.note_body is missing or invalid"),
    (
        "an index of its own version",
        "DROP INDEX notes.note_length",
        "0002: index notes.note_length is missing or invalid",
    ),
    (
        "a grant",
        "REVOKE INSERT ON notes.note FROM memory_app",
        "R0_grants: grant notes.note lacks INSERT for memory_app",
    ),
    (
        "a trigger",
        "DROP TRIGGER append_only ON notes.note",
        "R1_trigger: trigger notes.note.append_only is missing or not ALWAYS",
    ),
    (
        "a trigger that is not ALWAYS",
        "ALTER TABLE notes.note ENABLE TRIGGER append_only",
        "R1_trigger: trigger notes.note.append_only is missing or not ALWAYS",
    ),
    (
        "a trigger that is off",
        "ALTER TABLE notes.note DISABLE TRIGGER append_only",
        "R1_trigger: trigger notes.note.append_only is missing or not ALWAYS",
    ),
    (
        "a function with its trigger",
        "DROP FUNCTION notes.refuse() CASCADE",
        "R1_trigger: trigger notes.note.append_only is missing or not ALWAYS",
    ),
]


@pytest.mark.parametrize(("damage", "named"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
@pytest.mark.parametrize("rows", [0, 3])
def test_what_holds_no_data_is_put_back_and_named(
    database: Database, connect: Connect, tree: Tree, damage: str, named: str, rows: int
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute("INSERT INTO notes.note (body) SELECT n::text FROM generate_series(1, %s) AS n", [rows])
    good = dump(database)
    owner.execute(damage.encode())
    assert dump(database) != good
    done = repair(connect, "notes", root=tree.root)
    assert [str(finding) for finding in done.fixed] == [f"notes {named}"]
    assert done.remaining == ()
    assert dump(database) == good
    before = events(database)
    assert repair(connect, "notes", root=tree.root) == type(done)("notes")
    assert events(database) == before


@pytest.mark.parametrize("rows", [0, 3])
def test_an_invalid_index_is_dropped_and_built_anew(
    database: Database, connect: Connect, tree: Tree, rows: int
) -> None:
    runner.apply(connect, "notes", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute("INSERT INTO notes.note (body) SELECT n::text FROM generate_series(1, %s) AS n", [rows])
    for name in ("note_body", "note_length"):
        database.connect("postgres").execute(
            f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'notes.{name}'::regclass".encode()
        )
    done = repair(connect, "notes", root=tree.root)
    assert [finding.object for finding in done.fixed] == ["notes.note_body", "notes.note_length"]
    assert one(database, INVALID) == 0
    notes = [note for (note,) in events(database, "note") if note]
    assert notes == ["rebuilt index note_body", "rebuilt index note_length"]


def test_a_lost_column_is_named_and_left_to_an_operator(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute("ALTER TABLE notes.note DROP COLUMN body CASCADE")  # and both indexes with it
    owner.execute("REVOKE INSERT ON notes.note FROM memory_app")
    done = repair(connect, "notes", root=tree.root)
    assert [finding.kind for finding in done.fixed] == ["grant"]
    assert [f"{finding.kind} {finding.object}" for finding in done.remaining] == [
        "column notes.note.body",
        "index notes.note_body",
        "index notes.note_length",
    ]
    assert {problem.fact for problem in done.obstacles} == {
        'notes 0001_table: column "body" does not exist',
        'notes 0002_index: column "body" does not exist',
    }


def test_what_cannot_be_repaired_is_reported_beside_what_was(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", root=tree.root)
    tree.write("0001_table", verify="SELECT 'column', 'notes.note.other', 'is missing'")
    database.connect("memory_owner").execute("REVOKE INSERT ON notes.note FROM memory_app")
    done = repair(connect, "notes", root=tree.root)
    assert [finding.kind for finding in done.fixed] == ["grant"]
    assert [str(finding) for finding in done.remaining] == ["notes 0001: column notes.note.other is missing"]


def test_nothing_is_applied_that_was_not_applied_before(database: Database, connect: Connect, tree: Tree) -> None:
    runner.apply(connect, "notes", to="0001", root=tree.root)
    before = dump(database)
    done = repair(connect, "notes", root=tree.root)
    assert (done.fixed, done.remaining) == ((), ())
    assert dump(database) == before


def test_an_index_that_differs_is_not_rebuilt_behind_the_operators_back(
    database: Database, connect: Connect, tree: Tree
) -> None:
    different = "SELECT 'index', 'notes.note_length', 'is on id, wanted length(body)'"
    runner.apply(connect, "notes", root=tree.root)
    owner = database.connect("memory_owner")
    owner.execute("DROP INDEX notes.note_length")
    owner.execute("CREATE INDEX note_length ON notes.note (id)")
    tree.write("0002_index", up=INDEX["up"], verify=different)
    done = repair(connect, "notes", root=tree.root)
    assert done.fixed == ()
    assert [finding.problem for finding in done.remaining] == ["is on id, wanted length(body)"]
