"""Restore what holds no data: functions, triggers, grants, missing or invalid indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pgberth.migrations import indexes, ledger
from pgberth.migrations.ledger import Connection
from pgberth.migrations.plan import plan_up
from pgberth.migrations.runner import running
from pgberth.migrations.session import Connect, RetryPolicy
from pgberth.migrations.source import SQL_ROOT, Migration, Parameters
from pgberth.migrations.statements import IndexStatement, index_statement, split
from pgberth.migrations.step import failures_recorded, go_up
from pgberth.migrations.verify import REPAIRABLE, SchemaFinding, findings
from pgberth.model.problems import Problem, Refused


@dataclass(frozen=True)
class Repair:
    """
    The result of a repair.

    + fixed: findings that are gone; each counts as a change
    + remaining: findings that need an operator's decision: tables, columns, types, constraints, and failed repairs
    + obstacles: why a repair failed
    """

    component: str
    fixed: tuple[SchemaFinding, ...] = ()
    remaining: tuple[SchemaFinding, ...] = ()
    obstacles: tuple[Problem, ...] = ()


def repair(
    connect: Connect,
    component: str,
    parameters: Parameters | None = None,
    *,
    root: Path = SQL_ROOT,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
) -> Repair:
    """
    Repair what `verify_sql` finds and REPAIRABLE allows. It applies nothing that was not applied before.

    An index is built from its statement in the version's up file. For the rest, all repeatables of the component run
    again. Each is tried, also after another has failed. Raises Refused if the history differs or another session holds
    the lock.
    """
    with running(connect, component, retry) as connection:
        plan = plan_up(component, ledger.heads(connection, component), parameters, root=root)
        before = findings(connection, plan.applied)
        wrong = [finding for finding in before if finding.kind in REPAIRABLE]
        obstacles: list[Problem] = []
        for step in _steps(connection, plan.applied, wrong, retry):
            try:
                step()
            except Refused as refused:
                obstacles += refused.problems
        after = findings(connection, plan.applied) if wrong else before
        return Repair(component, tuple(f for f in before if f not in after), after, tuple(obstacles))


def _steps(
    connection: Connection, applied: tuple[Migration, ...], wrong: list[SchemaFinding], retry: RetryPolicy
) -> Iterator[Callable[[], None]]:
    names = {finding.object.rpartition(".")[2].strip('"') for finding in wrong if finding.kind == "index"}
    for migration, index in _written(applied):
        if index.name in names:
            yield partial(_rebuild, connection, migration, index, retry)
    repeatables = tuple(migration for migration in applied if migration.kind == "repeatable")
    if repeatables and any(finding.kind != "index" for finding in wrong):
        yield partial(go_up, connection, repeatables, retry, None)


def _rebuild(connection: Connection, migration: Migration, index: IndexStatement, retry: RetryPolicy) -> None:
    with failures_recorded(connection, migration, "up"):
        if indexes.ensure(connection, index, retry):
            ledger.record(connection, migration, "applied", note=f"rebuilt index {index.name}")


def _written(applied: Iterable[Migration]) -> Iterator[tuple[Migration, IndexStatement]]:
    """The last statement for each index, with its migration: a later version may define an index again."""
    last = {}
    for migration in applied:
        for statement in split(migration.up):
            index = index_statement(statement)
            if index is not None:
                last[index.name] = (migration, index)
    yield from last.values()
