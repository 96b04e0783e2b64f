"""
What to do, from comparing the files with the ledger. Pure: it needs the rows of `ledger.heads_script`, not a session.

If the files do not continue the ledger, everything that differs is refused: an applied file that was edited, renumbered
or is missing, a new number between applied ones, a changed parameter. Nothing is ever applied again to make them agree.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pgberth.migrations.ledger import Head
from pgberth.migrations.source import SQL_ROOT, Component, Migration, Parameters, Value, load
from pgberth.model.problems import Problem, Refused

HEAD = "head"
ZERO = "zero"

Loader = Callable[[str, Parameters, Path], Component]


@dataclass(frozen=True)
class Waiting:
    """
    A migration that this plan does not apply; that is normal.

    + missing: the parameters that have no value yet, or the versions above the target that it needs
    """

    title: str
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.title} waits for {', '.join(self.missing)}"


@dataclass(frozen=True)
class Plan:
    """
    How a component reaches its target.

    + steps: the migrations to apply, in this order
    + applied: the migrations that are applied and need nothing; `verify_sql` may check them now
    + waiting: the migrations that this target leaves out, and what they wait for
    """

    component: str
    steps: tuple[Migration, ...]
    applied: tuple[Migration, ...]
    waiting: tuple[Waiting, ...]

    def __str__(self) -> str:
        pending = ", ".join(f"{step.version}_{step.name}" if step.gate else step.version for step in self.steps)
        return "; ".join(
            [f"{self.component}: " + (f"apply {pending}" if pending else "nothing to do"), *map(str, self.waiting)]
        )


def plan_up(
    component: str,
    heads: Iterable[Head],
    parameters: Parameters | None = None,
    to: str | int | None = None,
    root: Path = SQL_ROOT,
    load: Loader = load,
) -> Plan:
    """
    Plan the way up to a version.

    + heads: of this component or of all, from `ledger.heads` or `ledger.heads_of`
    + parameters: the tenant's; a value that is not given is taken from the applied step that recorded it
    + to: a version ("0001" or 1); None or "head" for the newest
    + load: renders the files; a plan that is not applied may use `rendered.load`

    Raises Refused with every reason, also if the target is below an applied version: only `revert` goes down.
    """
    mine = tuple(head for head in heads if head.component == component)
    source = _source(component, mine, parameters, root, load)
    last = _target(source, HEAD if to is None else to)
    problems = [*_history(source, mine), *_beyond(source, mine, last)]
    if problems:
        raise Refused(problems)
    return _plan(source, {head.version: head for head in mine}, last)


def plan_down(
    component: str,
    heads: Iterable[Head],
    to: str | int,
    parameters: Parameters | None = None,
    root: Path = SQL_ROOT,
) -> tuple[Migration, ...]:
    """
    The migrations to revert, newest first, so that `to` is the newest applied version; "zero" leaves none.

    Raises Refused as plan_up does, and if a version is half applied: it must be finished first.
    """
    mine = tuple(head for head in heads if head.component == component)
    source = _source(component, mine, parameters, root)
    last = "" if to == ZERO else _target(source, to)
    problems = [*_history(source, mine), *(_half(head) for head in mine if head.state == "started")]
    if problems:
        raise Refused(problems)
    applied = {head.version for head in mine if head.state == "applied"}
    return tuple(m for m in reversed(source.versions) if m.version in applied and m.version > last)


def _source(
    component: str, heads: tuple[Head, ...], parameters: Parameters | None, root: Path, load: Loader = load
) -> Component:
    """The files, rendered with the given values, and otherwise with those that the ledger recorded."""
    given = parameters or {}
    recorded: dict[str, Value] = {}
    problems = []
    for head in heads:
        if head.state != "applied" or head.kind == "repeatable":
            continue
        for name, value in head.parameters.items():
            if given.get(name, value) != value:
                problems.append(_changed(head, name, value, given[name]))
            recorded[name] = value
    if problems:
        raise Refused(problems)
    return load(component, {**recorded, **given}, root)


def _changed(head: Head, name: str, was: Value, now: Value) -> Problem:
    return Problem(
        f"{head.title} was applied with {name} = {was}, now {name} is {now}",
        "An applied step keeps its values. Another value needs a new migration or, for embeddings, a new profile.",
    )


def _target(source: Component, to: str | int) -> str:
    known = [migration.version for migration in source.versions]
    desired = known[-1] if to == HEAD else f"{to:04}" if isinstance(to, int) else to
    if desired not in known:
        fact = f"{source.name} has no version {desired}"
        raise Refused.because(fact, f"Versions are {known[0]} to {known[-1]}, or {HEAD}.")
    return desired


def _history(source: Component, heads: tuple[Head, ...]) -> Iterator[Problem]:
    """Where the ledger and the files disagree about what was applied."""
    files = {migration.version: migration for migration in source.versions}
    done = [head for head in heads if head.kind == "versioned" and head.state in ("applied", "started")]
    for head in done:
        migration = files.get(head.version)
        if migration is None or migration.name != head.name:
            yield _vanished(source, head)
        elif head.state == "applied" and head.rendered_sha256 != migration.rendered_sha256:
            yield _edited(head, migration)
    newest = max((head.version for head in done), default="")
    versions = {head.version for head in done}
    for migration in source.versions:
        if migration.version < newest and migration.version not in versions and not migration.gate:
            yield Problem(
                f"{migration.title} is not applied, though {source.name} {newest} is",
                f"If it is new, give it the next number, {int(source.versions[-1].version) + 1:04}.",
            )


def _vanished(source: Component, head: Head) -> Problem:
    last = source.versions[-1].version
    if head.version > last:
        return Problem(
            f"{head.title} is applied, these files end at {last}", "Use the bundle that applied it, or a newer one."
        )
    now = next((migration for migration in source.versions if migration.name == head.name), None)
    if now is not None:
        return Problem(
            f"{head.title} is applied, and renumbered to {now.version} in the files", "Give it back its number."
        )
    return Problem(f"{head.title} is applied, and its files are missing", "Restore its files as they were.")


def _edited(head: Head, migration: Migration) -> Problem:
    """With both hashes, and with the difference if the head has its body."""
    was = [] if head.body is None else head.body.splitlines()
    difference = difflib.unified_diff(was, migration.up.splitlines(), "applied", "file", lineterm="")
    return Problem(
        f"{head.title} was edited after it was applied: sha256 {head.rendered_sha256} is applied,"
        f" {migration.rendered_sha256} is in the file",
        "\n".join(["Undo the edit, and write a new migration instead.", *(difference if was else ())]),
    )


def _beyond(source: Component, heads: tuple[Head, ...], last: str) -> Iterator[Problem]:
    beyond = {migration.version for migration in source.versions if migration.version > last}
    for head in heads:
        if head.version in beyond and head.state in ("applied", "started"):
            yield Problem(f"{head.title} is applied, the target is {last}", "To go down, ask for it by name: migrate.")


def _half(head: Head) -> Problem:
    return Problem(f"{head.title} is half applied", "Finish it first: migrate up to it.")


def _plan(source: Component, heads: dict[str, Head], last: str) -> Plan:
    versions = [migration for migration in source.versions if migration.version <= last]
    applied = [migration for migration in versions if _is_applied(heads, migration)]
    steps = [m for m in versions if m not in applied and not m.missing]
    waiting = [Waiting(m.title, m.missing) for m in versions if m not in applied and m.missing]
    reached = {migration.version for migration in (*applied, *steps)}
    reachable = tuple(migration.version for migration in source.versions if not migration.missing)
    # A new table needs its grants and triggers although the file that gives them has not changed, and a repeatable may
    # revoke what a later one grants. So all repeatables run again after any step.
    for file in source.repeatables:
        repeatable = replace(file, needs=reachable if file.needs is None else file.needs)
        beyond = tuple(version for version in repeatable.needs or () if version not in reached)
        if _is_applied(heads, file) and not steps:
            applied.append(repeatable)
        elif repeatable.missing or beyond:
            waiting.append(Waiting(repeatable.title, repeatable.missing or beyond))
        else:
            steps.append(repeatable)
    return Plan(source.name, tuple(steps), tuple(applied), tuple(waiting))


def _is_applied(heads: dict[str, Head], migration: Migration) -> bool:
    head = heads.get(migration.version)
    return head is not None and head.state == "applied" and head.rendered_sha256 == migration.rendered_sha256
