"""
Every rendering of every migration is the one that was looked at and committed, and the linter lets nothing else by.

After a wanted change: `python -m tests.sql_lint --write`, then read the difference before committing it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from pgberth.migrations import source
from pgberth.migrations.source import Parameters
from tests import sql_lint
from tests.migrations.tree import Tree
from tests.sql_lint import EVERYTHING, GOLDEN, Exempt

GOLDEN_FILES = {path.relative_to(GOLDEN).as_posix(): path for path in GOLDEN.rglob("*") if path.is_file()}


@pytest.mark.parametrize("component", source.components())
def test_every_rendering_is_its_golden_file(component: str) -> None:
    rendered = {name: one.text for name, one in sql_lint.renderings().items() if name.startswith(f"{component}/")}
    golden = {name: path.read_text("utf-8") for name, path in GOLDEN_FILES.items() if name.startswith(f"{component}/")}
    assert difference(golden, rendered) == ""


def test_there_is_no_golden_file_of_anything_else() -> None:
    assert set(GOLDEN_FILES) == set(sql_lint.renderings())


def difference(golden: Mapping[str, str], rendered: Mapping[str, str]) -> str:
    """As `diff -u`; a file that is on one side only is a difference too."""
    lines: list[str] = []
    for name in sorted(golden.keys() | rendered.keys()):
        before, after = golden.get(name, "").splitlines(), rendered.get(name, "").splitlines()
        lines += difflib.unified_diff(before, after, f"golden/{name}", f"rendered/{name}", lineterm="")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("golden", "rendered", "told"),
    [
        ({"a.sql": "x\n"}, {"a.sql": "x\n"}, ""),
        ({"a.sql": "x\n"}, {"a.sql": "y\n"}, "-x\n+y"),
        ({}, {"a.sql": "y\n"}, "+y"),
        ({"a.sql": "x\n"}, {}, "-x"),
    ],
)
def test_a_changed_a_missing_and_a_superfluous_golden_file_are_differences(
    golden: dict[str, str], rendered: dict[str, str], told: str
) -> None:
    assert difference(golden, rendered).endswith(told)
    assert bool(difference(golden, rendered)) == bool(told)


def test_everything_that_can_be_given_makes_a_rendering_of_its_own() -> None:
    rendered = sql_lint.renderings()
    assert "CREATE INDEX idx_knowledge_nodes_updated" not in rendered["knowledge/0001_init.up.sql"].text
    assert "CREATE INDEX idx_knowledge_nodes_updated" in rendered["knowledge/0001_init.up.everything.sql"].text
    assert "vector(1536)" in rendered["memory_plugin/0001_memory_v2.up.sql"].text
    assert "= 'an ''embedder'''" in rendered["control_plane/0002_procedure_embedding.up.sql"].text
    assert not rendered["knowledge/0002_hnsw.up.sql"].transactional


# --- the linter


def test_what_is_committed_has_no_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert sql_lint.main([]) == 0
    assert capsys.readouterr().out == ""


# What is as it should be in the small component of the runner's tests, and still in squawk's way.
SMALL = (
    Exempt("require-lock-timeout", "notes/*", "for this test"),
    Exempt("require-statement-timeout", "notes/*", "for this test"),
    Exempt("ban-drop-schema", "notes/*.down.*", "for this test"),
    Exempt("ban-drop-table", "notes/*.down.*", "for this test"),
    Exempt("ban-drop-function", "notes/*.down.*", "for this test"),
    Exempt("prefer-robust-stmts", "notes/0002_*", "for this test"),
    Exempt("require-concurrent-index-deletion", "notes/0002_*", "for this test"),
)


@dataclass(frozen=True)
class Planted:
    """
    A fault in the small component.

    + up: the up file of one more version
    + everything: what can be given
    + finds: what the one line that must come of it holds
    """

    fault: str
    up: str
    finds: tuple[str, ...]
    everything: Parameters = field(default_factory=dict)

    def __str__(self) -> str:
        return self.fault


FAULTS = [
    Planted(
        "an undefined variable",
        "\nDROP TABLE {{ table | ident }};",
        ("templates/sql/notes/0003_more.up.sql.j2:2: ", "'table' is undefined"),
    ),
    Planted(
        "an unquoted value",
        "SELECT 1;\nGRANT USAGE ON SCHEMA notes TO {{ app }};",
        ("notes/0003_more.up.sql.j2:2: ", "not typed as SQL", "{{ name | ident }}"),
    ),
    Planted("a filter too many", "\n\nGRANT USAGE ON SCHEMA notes TO {{ app | ident | upper }};", (".j2:3: ", "SQL")),
    Planted("a template that does not parse", "SELECT 1;\n{% if %}", ("notes/0003_more.up.sql.j2:2: ",)),
    Planted("transaction control", "SELECT 1;\nCOMMIT;", ("notes/0003_more.up.sql.j2:2: COMMIT in a migration",)),
    Planted("no SQL", "SELECT 1;\nSELECT 2 +;", ("golden/sql/notes/0003_more.up.sql:2: syntax-error: ",)),
    Planted(
        "a lock that stops everybody",
        "ALTER TABLE notes.note\n  ALTER COLUMN id TYPE numeric;",
        ("tests/golden/sql/notes/0003_more.up.sql:2: changing-column-type: ",),
    ),
    Planted("a table without its schema", "CREATE TABLE stray (id bigint);", (":1: require-table-schema: ",)),
    Planted(
        "an index that stops writers, beside other things",
        "CREATE INDEX note_id ON notes.note (id);\nTABLE notes.note;",
        (":1: require-concurrent-index-creation: ",),
    ),
    Planted(
        "an exception in the file itself",
        "-- squawk-ignore ban-drop-column\nALTER TABLE notes.note DROP COLUMN body;",
        ("0003_more.up.sql:1: tells squawk to look away",),
    ),
    Planted(
        "a branch that nothing opens",
        "SELECT 1{% if loud is defined %}, {{ loud }}{% endif %};",
        ("notes: a template asks for 'loud', and EVERYTHING has no value for it",),
    ),
    Planted(
        "a fault in a branch that something opens",
        "SELECT 1{% if loud is defined %},\n{{ loud }}{% endif %};",
        ("notes/0003_more.up.sql.j2:2: ", "not typed as SQL"),
        everything={"loud": 1},
    ),
    Planted(
        "a gate that nothing opens",
        "-- pgberth: gate=key\nSELECT 1;",
        ("notes: a template asks for 'key', and EVERYTHING has no value for it",),
    ),
    Planted(
        "a value that nobody asks for",
        "SELECT 1;",
        ("notes: 'spare' stands in EVERYTHING, and no template asks for it",),
        everything={"spare": 1},
    ),
]


def test_the_small_component_has_no_finding(tree: Tree) -> None:
    assert sql_lint.findings(tree.root, {}, SMALL) == []


@pytest.mark.parametrize("planted", FAULTS, ids=str)
def test_a_planted_fault_is_the_one_line_that_is_told(tree: Tree, planted: Planted) -> None:
    tree.write("0003_more", up=planted.up, down="SELECT 1;", verify="SELECT 1, 2, 3 WHERE false;")
    told = sql_lint.findings(tree.root, {"notes": planted.everything}, SMALL)
    assert len(told) == 1, told
    assert "\n" not in told[0]
    for part in planted.finds:
        assert part in told[0]


def test_an_exception_that_nothing_needs_is_a_finding(tree: Tree) -> None:
    spare = Exempt("ban-drop-column", "notes/0001_*", "for this test")
    told = sql_lint.findings(tree.root, {}, (*SMALL, spare))
    assert told == ["notes/0001_*: ban-drop-column: nothing needs this exception"]


def test_an_exception_holds_for_its_own_files_and_its_own_rule_only(tree: Tree) -> None:
    narrowed = [replace(one, files="notes/0001_*") if one.rule == "ban-drop-schema" else one for one in SMALL]
    told = sql_lint.findings(tree.root, {}, narrowed)
    assert [line.split(": ")[1] for line in told] == ["ban-drop-schema", "ban-drop-schema"]
    assert told[0].startswith("tests/golden/sql/notes/0000_schema.down.sql:1: ")


def test_every_exception_says_why_and_every_component_has_its_values() -> None:
    assert all(one.reason.strip() for one in sql_lint.EXEMPT)
    assert set(EVERYTHING) == set(source.components())
