"""
Every migration file as the server gets it: rendered, linted with squawk, and kept as a golden rendering.

    python -m tests.sql_lint            a line for each finding, and exit 1 where there is one: `make lint`
    python -m tests.sql_lint --write    rewrites tests/golden/sql, which test_golden.py compares with

Each component is rendered twice: as a tenant gets it that gives no parameter, and with everything that can be given. A
line number after `.j2:` counts in the template or, where SQL itself is at fault, in the rendering; after `.sql:` in the
golden file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypedDict, cast

from pgberth.migrations import source
from pgberth.migrations.source import FROM_CODE, SQL_ROOT, Migration, Parameters, load
from pgberth.model.problems import Problem, Refused

GOLDEN = Path(__file__).parent / "golden" / "sql"

# Each parameter that a tenant, or a step of code, can give: every gate open, every switch on, no default left.
EVERYTHING: Mapping[str, Parameters] = {
    "control_plane": {
        "embedding_model": "an 'embedder'",
        "embedding_model_version": "2026-01",
        "embedding_dimension": 1024,
    },
    "knowledge": {"registered_model": "an 'embedder'", "index_updated_at": True},
    "memory_plugin": {"dimension": 768},
}


@dataclass(frozen=True)
class Exempt:
    """
    A rule of squawk's that does not hold for some renderings.

    + files: pattern of their names, such as "*/*.down.*" or "knowledge/0001_*"
    """

    rule: str
    files: str
    reason: str


_GOES = "a down file takes away what its up file made: asked for by name, refused over rows, RESTRICT, after a dump"
_PUBLISHED = "the column is as it was published; a type of our own would break those who write to it"
EXEMPT = (
    Exempt("require-lock-timeout", "*", "the runner sets it before each step: indexes.limit_table_locks"),
    Exempt("require-statement-timeout", "*", "the runner's session has none: an index is built as long as it takes"),
    Exempt("ban-drop-schema", "*/0000_*.down.*", _GOES),
    Exempt("ban-drop-table", "*.down.*", _GOES),
    Exempt("ban-drop-function", "*/0001_*.down.*", _GOES),
    Exempt("ban-drop-type", "control_plane/0001_*.down.*", _GOES),
    Exempt("prefer-bigint-over-int", "control_plane/0001_*", _PUBLISHED),
    Exempt("prefer-bigint-over-int", "control_plane/0002_*", "no vector has 2^31 dimensions"),
    Exempt("prefer-bigint-over-int", "knowledge/0001_*", _PUBLISHED),
    Exempt("prefer-bigint-over-smallint", "knowledge/0001_*", _PUBLISHED),
    Exempt("prefer-identity", "knowledge/0001_*", _PUBLISHED),
    Exempt("prefer-robust-stmts", "knowledge/0002_*.up.*", "the runner looks first, and drops what is invalid"),
    Exempt("require-concurrent-index-creation", "knowledge/0002_*.up.*", "where there are rows, the runner does so"),
    Exempt("require-concurrent-index-deletion", "knowledge/0002_*.down.*", "down is one transaction, and bounded"),
)


@dataclass(frozen=True)
class Rendering:
    """
    One file as the server gets it.

    + name: "knowledge/0001_init.up.sql"; `.everything.sql` where the full set of parameters makes another text of it
    """

    name: str
    text: str
    transactional: bool


class Row(TypedDict):
    """What squawk says of one place. + line: counted from 0"""

    file: str
    line: int
    rule_name: str
    message: str
    help: str | None


def renderings(root: Path = SQL_ROOT, everything: Mapping[str, Parameters] = EVERYTHING) -> dict[str, Rendering]:
    """Every rendering of every component by name. Raises Refused with everything that is wrong."""
    found: dict[str, Rendering] = {}
    problems: list[Problem] = []
    for component in source.components(root):
        for given in ({}, everything.get(component, {})):
            try:
                for rendering in _files(component, load(component, given, root)):
                    _add(found, rendering)
            except Refused as refused:
                problems += refused.problems
    if problems:
        raise Refused(dict.fromkeys(problems))
    return found


def _files(component: str, migrations: Iterable[Migration]) -> Iterator[Rendering]:
    for migration in migrations:
        step = migration.version + (f"_{migration.name}" if migration.kind == "versioned" else "")
        verify = f"{migration.verify};\n" if migration.verify else ""
        for twin, text in (("up", migration.up), ("down", migration.down), ("verify", verify)):
            if text:  # there is none where a gate is closed
                name = f"{component}/{step}.{twin}.sql"
                yield Rendering(name, text, migration.transactional or twin != "up")


def _add(found: dict[str, Rendering], rendering: Rendering) -> None:
    first = found.setdefault(rendering.name, rendering)
    if first.text != rendering.text:
        name = rendering.name.removesuffix(".sql") + ".everything.sql"
        found[name] = Rendering(name, rendering.text, rendering.transactional)


def findings(
    root: Path = SQL_ROOT,
    everything: Mapping[str, Parameters] = EVERYTHING,
    exempt: Iterable[Exempt] = EXEMPT,
) -> list[str]:
    """Whatever is wrong with the templates below root, and with the two tables here; a line for each."""
    try:
        rendered = renderings(root, everything)
        unlooked = [*_uncovered(root, everything), *_hidden(rendered.values())]
    except Refused as refused:
        return [_line(problem, root) for problem in refused.problems]
    return unlooked + _not_exempt(_squawk(rendered), tuple(exempt))


def _line(problem: Problem, root: Path) -> str:
    """With the template as a path from here: the renderer names it from templates/, others by component and file."""
    named = problem.fact.replace(f"{root}/", "").removeprefix("sql/")
    fact = f"templates/sql/{named}" if ".sql.j2" in named else named
    return " ".join(f"{fact}. {problem.hint}".split())


def _uncovered(root: Path, everything: Mapping[str, Parameters]) -> Iterator[str]:
    """A branch or a gate that no value of ours opens would never be looked at."""
    for component in source.components(root):
        given = everything.get(component, {})
        asked = source.parameters(component, root)
        closed = {name for migration in load(component, given, root) for name in migration.missing}
        for name in sorted((asked | closed) - set(given)):
            yield f"{component}: a template asks for {name!r}, and EVERYTHING has no value for it"
        for name in sorted(set(given) - asked - FROM_CODE):
            yield f"{component}: {name!r} stands in EVERYTHING, and no template asks for it"


def _hidden(rendered: Iterable[Rendering]) -> Iterator[str]:
    for rendering in rendered:
        for number, line in enumerate(rendering.text.splitlines(), start=1):
            if "squawk-" in line:
                yield f"{_shown(rendering.name)}:{number}: tells squawk to look away; exceptions stand in EXEMPT"


def _not_exempt(rows: Iterable[Row], exempt: tuple[Exempt, ...]) -> list[str]:
    """What no exception covers, and the exceptions that cover nothing."""
    left: list[str] = []
    used: set[Exempt] = set()
    for row in rows:
        covering = {one for one in exempt if one.rule == row["rule_name"] and fnmatchcase(row["file"], one.files)}
        used |= covering
        if not covering:
            said = " ".join(f"{row['message']} {row['help'] or ''}".split())
            left.append(f"{_shown(row['file'])}:{row['line'] + 1}: {row['rule_name']}: {said}")
    return left + [f"{one.files}: {one.rule}: nothing needs this exception" for one in exempt if one not in used]


def _squawk(rendered: Mapping[str, Rendering]) -> Iterator[Row]:
    """What squawk says, exceptions included."""
    with tempfile.TemporaryDirectory() as place:
        for rendering in rendered.values():
            _write(Path(place), rendering)
        for inside, how in ((True, "--assume-in-transaction"), (False, "--no-assume-in-transaction")):
            names = [rendering.name for rendering in rendered.values() if rendering.transactional is inside]
            if names:
                yield from _run_squawk(Path(place), how, names)


def _run_squawk(place: Path, how: str, names: Iterable[str]) -> list[Row]:
    # A configuration of its own: squawk looks for one in every directory above.
    (place / "squawk.toml").touch()
    command = [
        str(Path(sys.executable).with_name("squawk")), "--config=squawk.toml", "--pg-version=18", how,
        "--include=require-table-schema", "--reporter=json", *names,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"squawk: {done.stderr or done.stdout}")
    return cast(list[Row], json.loads(done.stdout))


def _shown(name: str) -> str:
    return f"tests/golden/sql/{name}"


def _write(place: Path, rendering: Rendering) -> None:
    path = place / rendering.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rendering.text, "utf-8")


def write_golden() -> None:
    """The golden renderings anew: what is no longer rendered goes."""
    rendered = renderings()
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for rendering in rendered.values():
        _write(GOLDEN, rendering)


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sql_lint", description="Lint every migration file.")
    parser.add_argument("--write", action="store_true", help="rewrite tests/golden/sql instead")
    if parser.parse_args(arguments).write:
        write_golden()
        return 0
    found = findings()
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
