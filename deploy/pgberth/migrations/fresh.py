"""Build the same versions again in an empty database, for `drift` to compare a live one with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pgberth.migrations import ledger
from pgberth.migrations.ledger import Connection, Head
from pgberth.migrations.runner import apply, run_code, running
from pgberth.migrations.session import Connect, RetryPolicy
from pgberth.migrations.source import SQL_ROOT, Parameters, Value
from pgberth.model.problems import Problem, Refused

_OTHER_FILES = "run the release that applied it, or restore the file that was edited: runbooks/migration-edited.md"
Action = Callable[[Connection, Parameters], bool]


def rebuild(
    connect: Connect,
    component: str,
    heads: Iterable[Head],
    *,
    actions: Mapping[str, Action] | None = None,
    root: Path = SQL_ROOT,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
) -> None:
    """
    Apply to an empty database what another database has applied, with the values that it recorded.

    + connect: opens a session with the empty database
    + heads: of the other database
    + actions: by name, what each code step does with its recorded parameters

    Raises Refused as `apply` does, and if something that is applied there cannot be applied here.
    """
    done = [head for head in heads if head.component == component and head.state == "applied"]
    versions = sorted((head for head in done if head.kind == "versioned"), key=lambda head: head.version)
    steps = [head for head in done if head.kind == "code"]
    if not versions:
        return
    given = _values(versions, steps)
    last = versions[-1].version
    apply(connect, component, given, to=last, root=root, retry=retry)
    for step in steps:
        _repeat(connect, step, (actions or {}).get(step.version), retry)
        apply(connect, component, given, to=last, root=root, retry=retry)
    _refuse_missing(connect, component, done, retry)


def _values(versions: list[Head], steps: list[Head]) -> dict[str, Value]:
    """The values of the versions, without those from a code step: that step provides them here too, and opens gates."""
    provided = {name for step in steps for name in step.parameters}
    return {name: value for head in versions for name, value in head.parameters.items() if name not in provided}


def _repeat(connect: Connect, step: Head, action: Action | None, retry: RetryPolicy) -> None:
    if action is None:
        raise Refused.because(f"{step.title} is a code step, and no action for it is known")
    act = action

    def work(connection: Connection) -> bool:
        return act(connection, step.parameters)

    run_code(connect, step.component, step.version, step.parameters, work, after=step.needs, retry=retry)


def _refuse_missing(connect: Connect, component: str, desired: list[Head], retry: RetryPolicy) -> None:
    with running(connect, component, retry) as connection:
        made = {head.version: head for head in ledger.heads(connection, component) if head.state == "applied"}
    problems = [
        Problem(f"{head.title} is applied there, and these files render to another text", _OTHER_FILES)
        for head in desired
        if head.version not in made or made[head.version].rendered_sha256 != head.rendered_sha256
    ]
    if problems:
        raise Refused(problems)
