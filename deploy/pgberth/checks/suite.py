"""All checks of one tenant, run; no check's trouble keeps the others from being asked."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from pgberth.checks import access, container, history, memory, schema
from pgberth.checks.subject import Check, Subject

ALL: tuple[Check, ...] = (*container.CHECKS, *access.CHECKS, *schema.CHECKS, *memory.CHECKS, *history.CHECKS)


@dataclass(frozen=True)
class Result:
    """What a check found. + seconds: how long it took"""

    id: str
    problems: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.problems


def checks_for(components: tuple[str, ...], *, baseline: bool = False) -> tuple[Check, ...]:
    """The checks that apply to a tenant with these components, with or without a baseline at hand."""
    mine = (check for check in ALL if check.component is None or check.component in components)
    return tuple(check for check in mine if baseline or not check.needs_baseline)


def run(subject: Subject) -> tuple[Result, ...]:
    """Every check that applies, in order."""
    try:
        checks = checks_for(subject.tenant.tabled_components, baseline=subject.baseline is not None)
        return tuple(_result(check, subject) for check in checks)
    finally:
        subject.close()


def _result(check: Check, subject: Subject) -> Result:
    began = time.monotonic()
    problems: list[str] = []
    try:
        problems.extend(check.find(subject))
    except psycopg.Error as error:
        # What was found before stays in the list. Not the DETAIL: of a failed CHECK it is the row.
        problems.append(f"could not be asked: {error.diag.message_primary or error}".strip())
    return Result(check.id, tuple(problems), time.monotonic() - began)
