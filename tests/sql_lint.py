"""
Every migration file as the server gets it: rendered, linted with squawk, and known by its digest.

    python -m tests.sql_lint                       a line for each finding, and exit 1 where there is one: `make lint`
    python -m tests.sql_lint --render DIRECTORY    writes every rendering into that directory, to be read or compared
    python -m tests.sql_lint --write               rewrites tests/migrations/rendered.sha256

Each component is rendered twice: for a tenant that gives no parameter, and with a value for every parameter. A line
number after `.j2:` counts in the template or, where the SQL itself is wrong, in the rendering. After `.sql:` it counts
in the rendering; `--render` shows it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
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

DIGESTS = Path(__file__).parent / "migrations" / "rendered.sha256"

# A value for each parameter that a tenant or a code step can give: it opens every gate, turns every switch on, and
# replaces every default.
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
    A squawk rule that does not apply to some renderings.

    + files: pattern of their names, such as "*/*.down.*" or "knowledge/0001_*"
    """

    rule: str
    files: str
    reason: str


_GOES = "a down file drops what its up file created: asked for by name, refused where rows exist, with RESTRICT"
_PUBLISHED = "the column keeps its published type; another type would break the programs that write to it"
EXEMPT = (
    Exempt("require-lock-timeout", "*", "the runner sets it before each step: indexes.limit_table_locks"),
    Exempt("require-statement-timeout", "*", "the runner's session has none: an index build takes its time"),
    Exempt("ban-drop-schema", "*/0000_*.down.*", _GOES),
    Exempt("ban-drop-table", "*.down.*", _GOES),
    Exempt("ban-drop-function", "*/0001_*.down.*", _GOES),
    Exempt("ban-drop-type", "control_plane/0001_*.down.*", _GOES),
    Exempt("prefer-bigint-over-int", "control_plane/0001_*", _PUBLISHED),
    Exempt("prefer-bigint-over-int", "control_plane/0002_*", "a vector has at most 16,000 dimensions"),
    Exempt("prefer-bigint-over-int", "knowledge/0001_*", _PUBLISHED),
    Exempt("prefer-bigint-over-smallint", "knowledge/0001_*", _PUBLISHED),
    Exempt("prefer-identity", "knowledge/0001_*", _PUBLISHED),
    Exempt("prefer-robust-stmts", "knowledge/0002_*.up.*", "the runner checks first, and drops an invalid index"),
    Exempt("require-concurrent-index-creation", "knowledge/0002_*.up.*", "the runner does so where the table has rows"),
    Exempt(
        "require-concurrent-index-deletion",
        "knowledge/0002_*.down.*",
        "a down file is one transaction, and waits briefly",
    ),
)


@dataclass(frozen=True)
class Rendering:
    """
    One file as the server gets it.

    + name: "knowledge/0001_init.up.sql"; `.everything.sql` where the full set of parameters changes its text
    """

    name: str
    text: str
    transactional: bool


class Row(TypedDict):
    """One finding of squawk. + line: counted from 0"""

    file: str
    line: int
    rule_name: str
    message: str
    help: str | None


def renderings(root: Path = SQL_ROOT, everything: Mapping[str, Parameters] = EVERYTHING) -> dict[str, Rendering]:
    """Every rendering of every component, by name. Raises Refused with all problems."""
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
        for script, text in (("up", migration.up), ("down", migration.down), ("verify", verify)):
            if text:  # empty behind a closed gate
                name = f"{component}/{step}.{script}.sql"
                yield Rendering(name, text, migration.transactional or script != "up")


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
    """Every problem of the templates below root and of the two tables above; one line each."""
    try:
        rendered = renderings(root, everything)
        unchecked = [*_uncovered(root, everything), *_hidden(rendered.values())]
    except Refused as refused:
        return [_line(problem, root) for problem in refused.problems]
    return unchecked + _not_exempt(_squawk(rendered), tuple(exempt))


def _line(problem: Problem, root: Path) -> str:
    """Name the template by its path in the repository; the renderer and the loader each name it in another way."""
    named = problem.fact.replace(f"{root}/", "").removeprefix("sql/")
    fact = f"templates/sql/{named}" if ".sql.j2" in named else named
    return " ".join(f"{fact}. {problem.hint}".split())


def _uncovered(root: Path, everything: Mapping[str, Parameters]) -> Iterator[str]:
    """A branch or a gate that no value of EVERYTHING opens would never be checked."""
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
                yield f"{rendering.name}:{number}: switches squawk off here; exceptions belong in EXEMPT"


def _not_exempt(rows: Iterable[Row], exempt: tuple[Exempt, ...]) -> list[str]:
    """The findings that no exception covers, and the exceptions that cover no finding."""
    left: list[str] = []
    used: set[Exempt] = set()
    for row in rows:
        covering = {one for one in exempt if one.rule == row["rule_name"] and fnmatchcase(row["file"], one.files)}
        used |= covering
        if not covering:
            message = " ".join(f"{row['message']} {row['help'] or ''}".split())
            left.append(f"{row['file']}:{row['line'] + 1}: {row['rule_name']}: {message}")
    return left + [f"{one.files}: {one.rule}: no finding needs this exception" for one in exempt if one not in used]


def _squawk(rendered: Mapping[str, Rendering]) -> Iterator[Row]:
    """All findings of squawk, those with an exception included."""
    with tempfile.TemporaryDirectory() as place:
        write_renderings(Path(place), rendered.values())
        for inside, how in ((True, "--assume-in-transaction"), (False, "--no-assume-in-transaction")):
            names = [rendering.name for rendering in rendered.values() if rendering.transactional is inside]
            if names:
                yield from _run_squawk(Path(place), how, names)


def _run_squawk(place: Path, how: str, names: Iterable[str]) -> list[Row]:
    # With its own configuration file here, squawk does not look for one in the directories above.
    (place / "squawk.toml").touch()
    command = [
        str(Path(sys.executable).with_name("squawk")), "--config=squawk.toml", "--pg-version=18", how,
        "--include=require-table-schema", "--reporter=json", *names,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"squawk: {done.stderr or done.stdout}")
    return cast(list[Row], json.loads(done.stdout))


def write_renderings(directory: Path, rendered: Iterable[Rendering]) -> None:
    """One file for each rendering, below directory."""
    for rendering in rendered:
        path = directory / rendering.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendering.text, "utf-8")


def digests(rendered: Iterable[Rendering]) -> dict[str, str]:
    """SHA-256 of every up and down rendering, by name. Verify files may change: tests/contract holds what it finds."""
    return {one.name: hashlib.sha256(one.text.encode()).hexdigest() for one in rendered if ".verify." not in one.name}


def committed_digests(file: Path = DIGESTS) -> dict[str, str]:
    """The same from a file in the format of sha256sum, so that `sha256sum -c` reads it in a directory of renderings."""
    lines = (line.split("  ", 1) for line in file.read_text("utf-8").splitlines())
    return {name: digest for digest, name in lines}


def write_digests(file: Path = DIGESTS) -> None:
    """Rewrite the file from the templates."""
    current = digests(renderings().values())
    file.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(current.items())), "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sql_lint", description="Lint every migration file.")
    parser.add_argument("--write", action="store_true", help=f"rewrite {DIGESTS.name} instead")
    parser.add_argument("--render", metavar="DIRECTORY", type=Path, help="write every rendering there instead")
    chosen = parser.parse_args(arguments)
    if chosen.render:
        write_renderings(chosen.render, renderings().values())
        return 0
    if chosen.write:
        write_digests()
        return 0
    found = findings()
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
