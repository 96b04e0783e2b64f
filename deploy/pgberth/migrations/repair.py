"""Putting back what is derived and holds no data: functions, triggers, grants, missing or invalid indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pgberth.migrations import indexes, ledger
from pgberth.migrations.ledger import Connection
from pgberth.migrations.plan import plan_up
from pgberth.migrations.runner import running
from pgberth.migrations.session import Connect, Patience
from pgberth.migrations.source import SQL_ROOT, Migration, Parameters
from pgberth.migrations.statements import IndexStatement, index_statement, split
from pgberth.migrations.step import go_up
from pgberth.migrations.verify import REPAIRABLE, Finding, findings


@dataclass(frozen=True)
class Repair:
    """
    What was out of order.

    + fixed: each is a change, to be named
    + remaining: what an operator has to decide about: tables, columns, types, constraints, and whatever resisted
    """

    component: str
    fixed: tuple[Finding, ...] = ()
    remaining: tuple[Finding, ...] = ()


def repair(
    connect: Connect,
    component: str,
    parameters: Parameters | None = None,
    *,
    root: Path = SQL_ROOT,
    patience: Patience = Patience(),  # noqa: B008 - frozen
) -> Repair:
    """
    Repair what `verify_sql` finds and REPAIRABLE allows. Nothing is applied that was not applied before.

    An index comes from its statement in the version's up file, the rest from the component's repeatables, all of which
    are run again. Raises Refused as `apply` does.
    """
    with running(connect, component, patience) as connection:
        plan = plan_up(component, ledger.heads(connection, component), parameters, root=root)
        before = findings(connection, plan.applied)
        wrong = [finding for finding in before if finding.kind in REPAIRABLE]
        _indexes(connection, plan.applied, [f for f in wrong if f.kind == "index"], patience)
        if any(finding.kind != "index" for finding in wrong):
            for migration in plan.applied:
                if migration.kind == "repeatable":
                    go_up(connection, migration, patience)
        after = findings(connection, plan.applied) if wrong else before
        return Repair(component, tuple(f for f in before if f not in after), after)


def _indexes(connection: Connection, applied: Iterable[Migration], wrong: list[Finding], patience: Patience) -> None:
    names = {finding.object.rpartition(".")[2].strip('"') for finding in wrong}
    for migration, index in _written(applied):
        if index.name in names and indexes.ensure(connection, index, patience):
            ledger.record(connection, migration, "applied", note=f"rebuilt index {index.name}")


def _written(applied: Iterable[Migration]) -> Iterator[tuple[Migration, IndexStatement]]:
    """The last statement for each index, with its migration: a later version may have defined it anew."""
    last = {}
    for migration in applied:
        for statement in split(migration.up):
            index = index_statement(statement)
            if index is not None:
                last[index.name] = (migration, index)
    yield from last.values()
