"""Files are checked before anything is touched, all problems at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from pgberth.migrations import source
from pgberth.model.problems import Refused
from tests.migrations.tree import GRANTS, INDEX, TABLE, Tree


def problems(tree: Tree) -> str:
    with pytest.raises(Refused) as refused:
        source.load("notes", root=tree.root)
    return "\n".join(problem.fact for problem in refused.value.problems)


def test_a_component_is_its_versions_then_its_repeatables(tree: Tree) -> None:
    component = source.load("notes", root=tree.root)
    assert [(m.version, m.name, m.kind) for m in component] == [
        ("0000", "schema", "versioned"),
        ("0001", "table", "versioned"),
        ("0002", "index", "versioned"),
        ("R0_grants", "grants", "repeatable"),
        ("R1_trigger", "trigger", "repeatable"),
    ]
    assert [m.transactional for m in component] == [True, True, False, True, True]
    assert source.components(tree.root) == ("notes",)


@pytest.mark.parametrize(
    ("up", "transactional"),
    [
        ("CREATE INDEX a ON b.c (d);\nCREATE UNIQUE INDEX e ON b.c (f);", False),
        ("CREATE INDEX CONCURRENTLY a ON b.c (d);", False),
        ("CREATE INDEX a ON b.c (d);\nSELECT 1;", True),
        ("-- pgberth: no-transaction\nSELECT 1;", False),
        ("SELECT 1;", True),
    ],
)
def test_a_file_of_indexes_alone_goes_statement_by_statement(tree: Tree, up: str, transactional: bool) -> None:
    tree.write("0002_index", up=up)
    assert source.load("notes", root=tree.root).versions[2].transactional is transactional


def test_numbers_may_start_at_one(tree: Tree) -> None:
    tree.remove("0000_schema")
    assert [m.version for m in source.load("notes", root=tree.root).versions] == ["0001", "0002"]


def test_a_migration_records_exactly_the_values_its_files_ask_for(tree: Tree) -> None:
    component = source.load("notes", {"dimension": 5, "app": "someone"}, root=tree.root)
    assert component.versions[0].parameters == {"owner": "memory_owner", "app": "someone"}
    assert component.versions[1].parameters == {}
    assert component.repeatables[0].parameters == {"app": "someone"}


def test_hashes_part_the_template_from_its_rendering(tree: Tree) -> None:
    mine, other = (source.load("notes", {"app": app}, root=tree.root).versions[0] for app in ("a", "b"))
    assert mine.template_sha256 == other.template_sha256
    assert mine.rendered_sha256 != other.rendered_sha256
    assert mine.rendered_sha256 == hashlib.sha256(mine.up.encode()).hexdigest()


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text + "\n\n\n",
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "  \t\n"),
    ],
    ids=["CRLF", "CR", "more newlines at the end", "no newline at the end", "blanks at line ends"],
)
def test_an_edit_that_says_nothing_changes_no_hash(tree: Tree, edit: Callable[[str], str]) -> None:
    before = source.load("notes", root=tree.root).versions[1]
    tree.path("0001_table.up.sql.j2").write_bytes(edit(TABLE["up"]).encode())
    after = source.load("notes", root=tree.root).versions[1]
    assert (before.template_sha256, before.rendered_sha256) == (after.template_sha256, after.rendered_sha256)


def test_any_other_edit_changes_both_hashes(tree: Tree) -> None:
    before = source.load("notes", root=tree.root).versions[1]
    tree.write("0001_table", up=TABLE["up"] + "-- a word more\n")
    after = source.load("notes", root=tree.root).versions[1]
    assert before.template_sha256 != after.template_sha256
    assert before.rendered_sha256 != after.rendered_sha256


def test_a_version_behind_a_gate_waits_for_its_values(tree: Tree) -> None:
    tree.write("0002_index", up="-- pgberth: gate=model, size\n" + INDEX["up"] + "-- {{ size | integer }}\n")
    closed = source.load("notes", {"size": 3}, root=tree.root).versions[2]
    assert (closed.missing, closed.up, closed.verify) == (("model",), "", "")
    opened = source.load("notes", {"size": 3, "model": "m"}, root=tree.root).versions[2]
    assert opened.missing == ()
    assert opened.parameters == {"size": 3, "model": "m"}
    assert opened.up.endswith("-- 3\n")


FAULTS: list[tuple[str, Callable[[Tree], object], list[str]]] = [
    ("two with one number", lambda t: t.write("0001_other", **TABLE), ["two migrations have the number 0001"]),
    ("a gap", lambda t: t.rename("0002_index", "0003_index"), ["after 0001 comes 0003"]),
    ("no down", lambda t: t.path("0001_table.down.sql.j2").unlink(), ["notes/0001_table has no down file"]),
    ("no up", lambda t: t.path("0001_table.up.sql.j2").unlink(), ["notes/0001_table has no up file"]),
    ("no verify", lambda t: t.path("R0_grants.verify.sql.j2").unlink(), ["notes/R0_grants has no verify file"]),
    ("a repeatable's down", lambda t: t.write("R0_grants", down="SELECT 1;"), ["notes/R0_grants has a down file"]),
    ("a stranger", lambda t: t.path("README.md").touch(), ["notes/README.md is not a migration"]),
    ("upper case", lambda t: t.rename("0001_table", "0001_Table"), ["notes/0001_Table.down.sql.j2 is not a migration"]),
    ("newline in a name", lambda t: t.rename("0001_table", "0001_ta\nble"), ["is not a migration"]),
    ("a bare .sql", lambda t: t.path("0003_x.sql").touch(), ["notes/0003_x.sql is not a migration"]),
    ("no UTF-8", lambda t: t.path("0001_table.up.sql.j2").write_bytes(b"SELECT '\xff';"), ["is not UTF-8"]),
    ("an empty up", lambda t: t.write("0001_table", up="-- nothing\n"), ["0001_table.up.sql.j2 holds no statement"]),
    ("an undefined value", lambda t: t.write("R0_grants", up="\n{{ x | ident }}"), ["R0_grants.up.sql.j2:2: 'x'"]),
    ("an untyped value", lambda t: t.write("0001_table", down="DROP {{ app }}"), ["0001_table.down.sql.j2:1: a {{ }}"]),
    ("two queries", lambda t: t.write("0001_table", verify="SELECT 1; SELECT 2"), ["is not one SELECT"]),
    ("no query", lambda t: t.write("0001_table", verify="DROP TABLE x"), ["is not one SELECT"]),
    ("COMMIT", lambda t: t.write("0001_table", up="SELECT 1;\nCOMMIT;"), ["up.sql.j2:2: COMMIT in a migration"]),
    ("BEGIN", lambda t: t.write("0001_table", down="begin;"), ["down.sql.j2:1: BEGIN in a migration"]),
    ("SET", lambda t: t.write("0001_table", up="SET search_path = x;"), ["SET SEARCH_PATH outlives the file"]),
    ("RESET ROLE", lambda t: t.write("0001_table", up="RESET ROLE;"), ["RESET ROLE outlives the file"]),
    (
        "CONCURRENTLY in a transaction",
        lambda t: t.write("0001_table", up="SELECT 1;\nCREATE INDEX CONCURRENTLY a ON b.c (d);"),
        ["up.sql.j2:2: CONCURRENTLY inside a transaction"],
    ),
    (
        "a repeatable without a transaction",
        lambda t: t.write("R0_grants", up="-- pgberth: no-transaction\nSELECT 1;"),
        ["R0_grants.up.sql.j2: a repeatable without a transaction"],
    ),
    (
        "a repeatable with CONCURRENTLY",
        lambda t: t.write("R0_grants", up="CREATE INDEX CONCURRENTLY a ON b.c (d);"),
        ["R0_grants.up.sql.j2:1: CONCURRENTLY inside a transaction"],
    ),
    ("an unknown directive", lambda t: t.write("R0_grants", up="-- pgberth: hurry\nSELECT 1;"), ["not understood"]),
    ("an empty gate", lambda t: t.write("R0_grants", up="-- pgberth: gate=\nSELECT 1;"), ["not understood"]),
    (
        "a directive below the header",
        lambda t: t.write("R0_grants", up="SELECT 1;\n-- pgberth: no-transaction\n"),
        ["R0_grants.up.sql.j2:2: directive not understood"],
    ),
]


@pytest.mark.parametrize(("mutilate", "expected"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_whatever_is_wrong_with_the_files_is_named(
    tree: Tree, mutilate: Callable[[Tree], object], expected: list[str]
) -> None:
    source.load("notes", root=tree.root)  # good before it is mutilated
    mutilate(tree)
    told = problems(tree)
    assert all(fact in told for fact in expected), told


def test_all_problems_come_at_once(tree: Tree) -> None:
    tree.path("README.md").touch()
    tree.path("0000_schema.down.sql.j2").unlink()
    tree.write("0001_table", up="COMMIT;", verify="SELECT 1; SELECT 2")
    tree.write("0001_again", **TABLE)
    tree.write("R0_grants", up="{{ nobody | ident }}")
    assert len(problems(tree).splitlines()) == 6


def test_a_directory_without_migrations_is_refused(tree: Tree) -> None:
    with pytest.raises(Refused, match="component other has no directory"):
        source.load("other", root=tree.root)
    (tree.root / "empty").mkdir()
    with pytest.raises(Refused, match="there is no migration"):
        source.load("empty", root=tree.root)


def test_hidden_files_are_nobodys_business(tree: Tree) -> None:
    tree.path(".gitkeep").touch()
    assert len(list(source.load("notes", root=tree.root))) == 5


def test_a_hostile_parameter_stays_one_word(tree: Tree) -> None:
    component = source.load("notes", {"app": 'x" SUPERUSER; {{ 7 * 7 }} --'}, root=tree.root)
    assert component.repeatables[0].up == (
        'GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA notes TO "x"" SUPERUSER; {{ 7 * 7 }} --";\n'
    )
    assert GRANTS["up"].count(";") == 1
