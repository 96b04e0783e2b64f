"""No verb deletes what could be a cluster: all that the product removes or overwrites is in tests/deletions.txt."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
TABLE = REPO / "tests/deletions.txt"

# Shell that removes or overwrites what is on a disk.
_SHELL = re.compile(
    r"(?<![\w./-])(rm|rmdir|unlink|shred|userdel|deluser|truncate|dd|mv|cp|rsync|mkfs\w*|wipefs|blkdiscard)(?=\s|$)"
    r"|\b(volume|container|image|secret|system)\s+(rm|remove|import|prune|reset)\b"
    r"|(?<![\w-])-delete\b|--volumes\b|--replace\b|\bDROP\s+DATABASE\b|\bln\s+-\w*f|\bsed\s+-i\b|\btar\s+-?x"
)
# The same in Python. `replace` of a path has one argument, that of a text has two.
_CALLS = frozenset({"rmtree", "unlink", "rmdir", "removedirs", "rename", "renames", "move", "truncate", "copytree"})
# Who removes a volume, or what is in one.
_OF_VOLUMES = {
    "deploy/pgberth/clean.py",
    "templates/container/discard.sh",
    "templates/container/init.sh",
    "templates/container/initialise.sh",
    "templates/machine/remove-everything.sh",
}


def in_shell(text: str) -> Iterator[str]:
    """Lines that remove or overwrite, without those that are comments."""
    lines = (line.strip() for line in text.splitlines())
    yield from (line for line in lines if not line.startswith("#") and _SHELL.search(line))


def in_python(text: str) -> Iterator[str]:
    """The same lines of a module, those included that hold such shell in a string."""
    tree, lines = ast.parse(text), text.splitlines()
    found = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.expr) and _removes(node)}
    prose = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    yield from (lines[number - 1].strip() for number in sorted(found - prose))


def _removes(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _SHELL.search(node.value) is not None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "replace":
        return len(node.args) + len(node.keywords) == 1
    if isinstance(node, ast.Attribute) and node.attr == "remove":
        return isinstance(node.value, ast.Name) and node.value.id == "os"
    return isinstance(node, ast.Attribute) and node.attr in _CALLS


def sites() -> Counter[tuple[str, str]]:
    """File and line of each place that removes or overwrites, and how often that line is in the file."""
    scripts = [path for place in ("templates", ".ci") for path in (REPO / place).rglob("*") if path.is_file()]
    found: Counter[tuple[str, str]] = Counter()
    for path in [*scripts, REPO / "Makefile"]:
        if ".sql" not in path.suffixes:  # those change tables, which the migrations' own tests judge
            found.update((str(path.relative_to(REPO)), line) for line in in_shell(path.read_text()))
    for path in [*(REPO / "deploy").rglob("*.py"), REPO / "config.py"]:
        found.update((str(path.relative_to(REPO)), line) for line in in_python(path.read_text()))
    return found


def table() -> dict[tuple[str, str], str]:
    """File and line -> why that is never somebody's cluster."""
    found: dict[tuple[str, str], str] = {}
    file = site = ""
    for line in TABLE.read_text().splitlines():
        match len(line) - len(line.lstrip()), line.strip():
            case (_, "") | (0, _) if not line or line.startswith("#"):
                continue
            case 0, file:
                continue
            case 2, site:
                found[file, site] = ""
            case _, reason:
                found[file, site] += reason
    return found


def test_all_that_is_removed_or_overwritten_is_in_the_table_and_nothing_else() -> None:
    assert set(sites()) == set(table())


def test_each_has_a_reason() -> None:
    assert [site for site, why in table().items() if len(why) < 5] == []


def test_volumes_and_what_is_in_them_are_removed_in_these_places_only() -> None:
    """Two of them are `make clean`, which asks; one is stage A's own; and two remove what was never a cluster."""
    removes = re.compile(r'volume rm|rm -rf "\$data"|userdel')
    assert {file for file, line in sites() if removes.search(line)} == _OF_VOLUMES


def test_no_command_forces_a_volume_away_but_the_clean_up() -> None:
    forced = {file for file, line in sites() if re.search(r"volume rm.*(--force|-f\b)", line)}
    assert forced == {"templates/machine/remove-everything.sh"}


PLANTED = (
    'rm -rf "$place"',
    "podman volume rm --force acme-data-g1",
    "podman volume prune -f",
    "podman system reset",
    'find "$place" -mindepth 1 -delete',
    'cd "$place" && rm -r .',
    'mv "$place" "$place.old"',
    "podman rm --force --volumes acme",
    'xargs -r rmdir < "$list"',
)


@pytest.mark.parametrize("line", PLANTED)
def test_a_new_site_is_seen(line: str) -> None:
    assert list(in_shell(f"# {line}\n  {line}\n")) == [line]
    assert list(in_python(f'"""{line.replace(chr(34), chr(39))}"""\n\nSCRIPT = {line!r}\n')) == [f"SCRIPT = {line!r}"]


@pytest.mark.parametrize(
    "line", ["shutil.rmtree(place)", "place.unlink()", "os.remove(place)", "place.replace(other)", "f = shutil.rmtree"]
)
def test_a_new_site_of_python_is_seen(line: str) -> None:
    assert list(in_python(f'"""A module."""\n\ntext.replace("a", "b")\nnames.remove("a")\n{line}\n')) == [line]
