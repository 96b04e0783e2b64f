"""
The rendered text of an applied migration never changes, and the linter accepts nothing that is not listed as exempt.

The ledger of every tenant holds the SHA-256 of each file that it applied. `rendered.sha256` holds the same digests: a
template that renders to another text fails here, before a tenant refuses it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pgberth.migrations import source
from pgberth.migrations.source import Parameters
from tests import sql_lint
from tests.migrations.tree import Tree
from tests.sql_lint import EVERYTHING, Exempt

_ADVICE = """
An applied version never changes: undo the edit, and write a new version. A repeatable may change; every tenant then
runs it again. A new file needs its digest. To read the texts, write them out at both commits and compare:
    python -m tests.sql_lint --render DIRECTORY
To accept a new version or a changed repeatable:
    python -m tests.sql_lint --write"""


def test_every_up_and_down_file_renders_to_the_committed_digest() -> None:
    differences = list(changed(sql_lint.committed_digests(), sql_lint.digests(sql_lint.renderings().values())))
    assert not differences, "\n".join([*differences, _ADVICE])


def changed(committed: Mapping[str, str], rendered: Mapping[str, str]) -> Iterator[str]:
    """A line for each file whose digest differs, or that is on one side only."""
    for name in sorted(committed.keys() | rendered.keys()):
        before, after = committed.get(name, "none"), rendered.get(name, "none")
        if before != after:
            yield f"{name}: the committed digest is {before}, the template now renders to {after}"


@pytest.mark.parametrize(
    ("committed", "rendered", "line"),
    [
        ({"a.sql": "1"}, {"a.sql": "1"}, ""),
        ({"a.sql": "1"}, {"a.sql": "2"}, "a.sql: the committed digest is 1, the template now renders to 2"),
        ({}, {"a.sql": "2"}, "a.sql: the committed digest is none, the template now renders to 2"),
        ({"a.sql": "1"}, {}, "a.sql: the committed digest is 1, the template now renders to none"),
    ],
)
def test_a_changed_a_new_and_a_missing_file_are_each_named(
    committed: dict[str, str], rendered: dict[str, str], line: str
) -> None:
    assert list(changed(committed, rendered)) == ([line] if line else [])


def test_the_digests_are_those_of_the_ledger() -> None:
    """For a tenant that gives no parameter: what `source` hashes is what the file lists."""
    committed = sql_lint.committed_digests()
    for component in source.components():
        for migration in source.load(component).versions:
            if not migration.missing:
                name = f"{component}/{migration.version}_{migration.name}.up.sql"
                assert committed[name] == migration.rendered_sha256


def test_the_renderings_can_be_written_out_and_checked_with_sha256sum(tmp_path: Path) -> None:
    assert sql_lint.main([f"--render={tmp_path}"]) == 0
    command = ["sha256sum", "--check", "--quiet", str(sql_lint.DIGESTS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_full_set_of_parameters_has_its_own_renderings() -> None:
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


# What squawk finds in the small component of the runner's tests, though it is as intended.
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
    Planted("no SQL", "SELECT 1;\nSELECT 2 +;", ("notes/0003_more.up.sql:2: syntax-error: ",)),
    Planted(
        "a lock that blocks every session",
        "ALTER TABLE notes.note\n  ALTER COLUMN id TYPE numeric;",
        ("notes/0003_more.up.sql:2: changing-column-type: ",),
    ),
    Planted("a table without its schema", "CREATE TABLE loose (id bigint);", (":1: require-table-schema: ",)),
    Planted(
        "an index that stops writers, beside other things",
        "CREATE INDEX note_id ON notes.note (id);\nTABLE notes.note;",
        (":1: require-concurrent-index-creation: ",),
    ),
    Planted(
        "an exception in the file itself",
        "-- squawk-ignore ban-drop-column\nALTER TABLE notes.note DROP COLUMN body;",
        ("0003_more.up.sql:1: switches squawk off here",),
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
        "a value that no template asks for",
        "SELECT 1;",
        ("notes: 'spare' stands in EVERYTHING, and no template asks for it",),
        everything={"spare": 1},
    ),
]


def test_the_small_component_has_no_finding(tree: Tree) -> None:
    assert sql_lint.findings(tree.root, {}, SMALL) == []


@pytest.mark.parametrize("planted", FAULTS, ids=str)
def test_a_planted_fault_is_the_only_line_printed(tree: Tree, planted: Planted) -> None:
    tree.write("0003_more", up=planted.up, down="SELECT 1;", verify="SELECT 1, 2, 3 WHERE false;")
    lines = sql_lint.findings(tree.root, {"notes": planted.everything}, SMALL)
    assert len(lines) == 1, lines
    assert "\n" not in lines[0]
    for part in planted.finds:
        assert part in lines[0]


def test_an_exception_that_nothing_needs_is_a_finding(tree: Tree) -> None:
    spare = Exempt("ban-drop-column", "notes/0001_*", "for this test")
    lines = sql_lint.findings(tree.root, {}, (*SMALL, spare))
    assert lines == ["notes/0001_*: ban-drop-column: no finding needs this exception"]


def test_an_exception_holds_for_its_own_files_and_its_own_rule_only(tree: Tree) -> None:
    narrowed = [replace(one, files="notes/0001_*") if one.rule == "ban-drop-schema" else one for one in SMALL]
    lines = sql_lint.findings(tree.root, {}, narrowed)
    assert [line.split(": ")[1] for line in lines] == ["ban-drop-schema", "ban-drop-schema"]
    assert lines[0].startswith("notes/0000_schema.down.sql:1: ")


def test_every_exception_says_why_and_every_component_has_its_values() -> None:
    assert all(one.reason.strip() for one in sql_lint.EXEMPT)
    assert set(EVERYTHING) == set(source.components())
