"""Read a component's migration files: check, render and hash them. All problems of a component are reported at once."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pgberth.migrations import rules
from pgberth.migrations.statements import split
from pgberth.model.problems import Problem, Refused
from pgberth.model.resources import TEMPLATES
from pgberth.model.roles import APP, MIGRATOR, MONITOR, OWNER
from pgberth.model.tenant import MEMORY_PLUGIN
from pgberth.rendering import sql

SQL_ROOT = TEMPLATES / "sql"

Kind = Literal["versioned", "repeatable", "code"]
Value = str | int
Parameters = Mapping[str, Value]

# Every tenant is a separate cluster, so the roles have the same names everywhere. The dimension of memory_plugin is
# that of its embedding model; a component that leaves the choice to its tenant has no default here.
ROLES: dict[str, Value] = {"owner": OWNER, "migrator": MIGRATOR, "app": APP, "monitor": MONITOR}
# Values that a code step records; an inventory cannot give them.
FROM_CODE = frozenset({"registered_model"})
DEFAULTS: dict[str, dict[str, Value]] = {MEMORY_PLUGIN: {"dimension": 1536}}

_FILE = re.compile(
    r"(?:(?P<number>\d{4})_(?P<name>[a-z][a-z0-9_]*)|(?P<repeatable>R\d_[a-z][a-z0-9_]*))"
    r"\.(?P<script>up|down|verify)\.sql\.j2"
)


@dataclass(frozen=True)
class Migration:
    """
    One version or repeatable file of a component, rendered for one tenant.

    + version: "0001", or "R1_triggers" for a repeatable; unique in its component
    + up, down, verify: normalised SQL, verify without its semicolon; a repeatable has no down; all three are empty
      while a parameter is missing
    + template_sha256, rendered_sha256: of the up file before and after rendering; the first changes with the bundle,
      the second with this tenant's SQL
    + parameters: the values that its files use, by name; never a secret
    + transactional: whether it is one transaction; otherwise it runs statement by statement, and can be continued
    + gate: parameters that must have a value before it is applied
    + missing: parameters of the gate without a value; it waits for them
    + needs: versions that a repeatable depends on; None means every version that is not behind a closed gate
    """

    component: str
    version: str
    name: str
    kind: Kind
    up: str = field(repr=False)
    down: str = field(repr=False)
    verify: str = field(repr=False)
    template_sha256: str
    rendered_sha256: str
    parameters: Parameters
    transactional: bool
    gate: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    needs: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        """ "knowledge 0001_init", for messages."""
        return f"{self.component} {self.version}" + (f"_{self.name}" if self.kind == "versioned" else "")


@dataclass(frozen=True)
class Component:
    """The migrations of one component in the order in which they are applied: versions, then repeatables."""

    name: str
    versions: tuple[Migration, ...]
    repeatables: tuple[Migration, ...]

    def __iter__(self) -> Iterator[Migration]:
        yield from self.versions
        yield from self.repeatables


@dataclass(frozen=True)
class _Step:
    """The files of one version or repeatable."""

    version: str
    name: str
    kind: Kind
    files: Mapping[str, Path]


def normalised(text: str) -> str:
    """The text that is hashed and run: LF, no blanks at line ends, one newline at the end, comments included."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"


def sha256(text: str) -> str:
    """Hex digest of a normalised text."""
    return hashlib.sha256(text.encode()).hexdigest()


def load(component: str, parameters: Parameters | None = None, root: Path = SQL_ROOT) -> Component:
    """
    The component's migrations, rendered with `parameters`, which override ROLES and DEFAULTS.

    Raises Refused with every problem: unknown or missing files, two files with one number, a gap in the numbers, wrong
    directives or templates, and SQL for which the runner cannot keep its promises.
    """
    given = {**ROLES, **DEFAULTS.get(component, {}), **(parameters or {})}
    return _loaded(component, tuple(sorted(given.items())), root, _fingerprint(root / component))


def parameters(component: str, root: Path = SQL_ROOT) -> frozenset[str]:
    """Names of the values that a tenant may give the component: those its files use, and those that open gates."""
    asked = {name for step in load(component, root=root) for name in step.gate}
    for path in (root / component).glob("*.sql.j2"):
        asked |= sql.variables(path)
    return frozenset(asked - set(ROLES) - FROM_CODE)


def components(root: Path = SQL_ROOT) -> tuple[str, ...]:
    """Names of all components that have files."""
    return tuple(sorted(place.name for place in root.iterdir() if place.is_dir()))


@lru_cache(maxsize=256)
def _loaded(component: str, parameters: tuple[tuple[str, Value], ...], root: Path, _: frozenset[object]) -> Component:
    # Cached by the parameters and the files' fingerprint: most tenants of a fleet have the same parameters.
    problems: list[Problem] = []
    migrations: list[Migration] = []
    for step in _steps(root / component, problems):
        try:
            migrations.append(_rendered(component, step, dict(parameters)))
        except Refused as refused:
            problems += refused.problems
    if problems:
        raise Refused(problems)
    return Component(
        component,
        tuple(m for m in migrations if m.kind == "versioned"),
        tuple(m for m in migrations if m.kind == "repeatable"),
    )


def _fingerprint(directory: Path) -> frozenset[object]:
    if not directory.is_dir():
        raise Refused.because(f"component {directory.name} has no directory {directory}", "Check its spelling.")
    stats = []
    for place in (directory, directory.parent):  # verify files extend templates of the parent directory
        with os.scandir(place) as entries:
            stats += [(entry.path, entry.stat()) for entry in entries if entry.is_file()]
    return frozenset((path, stat.st_mtime_ns, stat.st_size, stat.st_ino) for path, stat in stats)


def _steps(directory: Path, problems: list[Problem]) -> list[_Step]:
    """The complete steps in order; what is wrong with the directory is added to `problems`."""
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(directory.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match:
            identity = (match["number"], match["name"]) if match["number"] else (match["repeatable"], "")
            found.setdefault(identity, {})[match["script"]] = path
        elif not path.name.startswith("."):
            problems.append(Problem(f"{_shown(path)} is not a migration", _NAMES))
    problems += _numbering(directory, [version for version, _ in found])
    steps = [_step(version, name, files) for (version, name), files in sorted(found.items())]
    for step in steps:
        problems += _wrong_scripts(directory, step)
    return [step for step in steps if set(step.files) == _required_scripts(step)]


_NAMES = "Names are NNNN_name.{up,down,verify}.sql.j2 and Rn_name.{up,verify}.sql.j2, in lower case."


def _step(version: str, name: str, files: Mapping[str, Path]) -> _Step:
    if name:
        return _Step(version, name, "versioned", files)
    return _Step(version, version.partition("_")[2], "repeatable", files)


def _required_scripts(step: _Step) -> set[str]:
    return {"up", "down", "verify"} if step.kind == "versioned" else {"up", "verify"}


def _wrong_scripts(directory: Path, step: _Step) -> Iterator[Problem]:
    stem = f"{directory.name}/{step.version}" + (f"_{step.name}" if step.kind == "versioned" else "")
    for script in sorted(_required_scripts(step) - set(step.files)):
        yield Problem(f"{stem} has no {script} file", f"Write {stem}.{script}.sql.j2.")
    if step.kind == "repeatable" and "down" in step.files:
        yield Problem(
            f"{stem} has a down file",
            "A repeatable has no down script: its objects go with their tables. Delete the file.",
        )


def _numbering(directory: Path, versions: Iterable[str]) -> Iterator[Problem]:
    numbers = sorted(int(version) for version in versions if version.isdigit())
    for number, following in itertools.pairwise(numbers):
        if number == following:
            yield Problem(f"{directory.name}: two migrations have the number {number:04}", "Renumber the newer one.")
        elif following != number + 1:
            yield Problem(
                f"{directory.name}: after {number:04} comes {following:04}",
                "Leave no gap between numbers.",
            )
    if not numbers:
        yield Problem(f"{directory.name}: there is no migration in {directory}", _NAMES)


def _rendered(component: str, step: _Step, given: Parameters) -> Migration:
    template = normalised(_text(step.files["up"]))
    directives = rules.directives(template, _shown(step.files["up"]))
    asked = set(directives.gate).union(*(sql.variables(path) for path in step.files.values()))
    missing = tuple(name for name in directives.gate if name not in given)
    scripts = {script: "" if missing else normalised(sql.render(path, given)) for script, path in step.files.items()}
    if not missing:
        rules.check(scripts, {script: _shown(path) for script, path in step.files.items()}, directives)
    return Migration(
        component=component,
        version=step.version,
        name=step.name,
        kind=step.kind,
        up=scripts["up"],
        down=scripts.get("down", ""),
        verify="" if missing else split(scripts["verify"])[0].text,
        template_sha256=sha256(template),
        rendered_sha256="" if missing else sha256(scripts["up"]),
        parameters={name: given[name] for name in sorted(asked) if name in given},
        transactional=directives.transactional and not (step.kind == "versioned" and rules.only_indexes(scripts["up"])),
        gate=directives.gate,
        missing=missing,
        needs=directives.needs,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as wrong:
        raise Refused.because(f"{_shown(path)} is not UTF-8: {wrong.reason} at byte {wrong.start}") from wrong


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
