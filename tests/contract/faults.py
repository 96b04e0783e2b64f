"""Faults planted in a schema (`planted/<component>.yaml`): verify must name each, the repeatables repair theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from pgberth.migrations.source import Migration
from tests.contract.catalogue import Session
from tests.contract.components import found


@dataclass(frozen=True)
class Fault:
    """
    + sql: what a superuser does to the schema
    + finds: how the finding that must result begins: kind, object, problem
    """

    fault: str
    sql: str
    finds: str

    def __str__(self) -> str:
        return self.fault

    @property
    def repairable(self) -> bool:
        """Whether the repeatables must repair it; an index has its statement in a version's file."""
        return self.finds.split()[0] in ("grant", "function", "trigger")


def faults(component: str) -> list[Fault]:
    """All faults of a component."""
    text = (Path(__file__).with_name("planted") / f"{component}.yaml").read_text("utf-8")
    return [Fault(**row) for row in yaml.safe_load(text)]


def named(session: Session, migrations: tuple[Migration, ...]) -> list[str]:
    """The findings of verify, one line each."""
    return [f"{finding.kind} {finding.object} {finding.problem}" for finding in found(session, migrations)]
