"""Faults planted in a schema (`planted/<component>.yaml`): verify must name each, the repeatables repair theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.contract.components import applied, found, undone
from tests.postgres import Database


@dataclass(frozen=True)
class Fault:
    """
    + sql: what a superuser does to the schema, by mistake or in anger
    + finds: how the finding that must come of it begins: kind, object, problem
    """

    fault: str
    sql: str
    finds: str

    def __str__(self) -> str:
        return self.fault

    @property
    def repairable(self) -> bool:
        """Whether the repeatables have to put it right; an index has its statement in a version's file."""
        return self.finds.split()[0] in ("grant", "function", "trigger")


def faults(component: str) -> list[Fault]:
    """All faults of a component."""
    text = (Path(__file__).with_name("planted") / f"{component}.yaml").read_text("utf-8")
    return [Fault(**row) for row in yaml.safe_load(text)]


def check_named(database: Database, component: str, fault: Fault) -> None:
    """Verify is silent, then the fault is planted, then it is named. Everything is undone."""
    migrations = applied(database, component)
    with undone(database.connect("postgres")) as session:
        assert found(session, migrations) == ()
        session.execute(fault.sql.encode())
        said = [f"{finding.kind} {finding.object} {finding.problem}" for finding in found(session, migrations)]
    assert [line for line in said if line.startswith(fault.finds)], said


def check_repaired(database: Database, component: str, fault: Fault) -> None:
    """The owner runs the repeatables again, and the fault is gone. Everything is undone."""
    migrations = applied(database, component)
    with undone(database.connect("postgres")) as session:
        session.execute(fault.sql.encode())
        assert found(session, migrations) != ()
        session.execute("SET LOCAL ROLE memory_owner; SET LOCAL search_path = pg_catalog, pg_temp")
        for migration in migrations:
            if migration.kind == "repeatable":
                session.execute(migration.up.encode())
        assert found(session, migrations) == ()
