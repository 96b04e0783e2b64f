"""Every case of a ground: struck, healed by the next deploy, left alone by the one after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from tests.crash.drawn import drawn
from tests.crash.picture import differences
from tests.crash.steps import DEPLOY, Case, Fault, Outcome, Step, cases, recorded
from tests.deploy.product import Inventory
from tests.sampling import SEED

_RUNS_ON = 0.3  # seconds of a command that an orphan needs to meet the next deploy, which takes as long to start


class Ground(Protocol):
    """
    Where deploys die. Subjects are tenants, each with all that its cases are about.

    + at_once: how many deploys die side by side; together: how many subjects one deploy heals
    """

    @property
    def name(self) -> str: ...
    @property
    def faults(self) -> tuple[Fault, ...]: ...
    @property
    def at_once(self) -> int: ...
    @property
    def together(self) -> int: ...

    def new(self) -> Any: ...
    def inventory(self, subjects: Sequence[Any]) -> Inventory: ...
    def role(self, step: Step, subject: Any, /) -> bool: ...
    def strike(self, subject: Any, case: Case) -> None: ...
    def picture(self, subject: Any) -> set[str]: ...
    def leftovers(self, subject: Any, /) -> list[str]: ...
    def remove(self, subject: Any) -> None: ...


def known(ground: Ground, notes: Path) -> tuple[list[Step], set[str]]:
    """The steps of a deploy that nothing befalls, and the picture it leaves."""
    subject = ground.new()
    steps = recorded(ground.inventory([subject]), notes)
    fresh = ground.picture(subject)
    ground.remove(subject)
    return [step for step in steps if ground.role(step, subject)], fresh


def explored(ground: Ground, place: Path, size: int) -> list[Outcome]:
    """
    What became of the ground's cases, from nothing known.

    + place: a directory for notes; size: of the sample, where it is not all of them
    """
    steps, fresh = known(ground, place / f"steps of {ground.name}, {ground.faults[0]}")
    return survived(ground, drawn(cases(steps, ground.faults, SEED), size), fresh)


def survived(ground: Ground, chosen: Iterable[Case], fresh: set[str]) -> list[Outcome]:
    """What became of each case."""
    return [outcome for batch in _batches(chosen, ground.together) for outcome in _batch(ground, batch, fresh)]


def side_by_side(works: Iterable[Callable[[], list[Outcome]]]) -> list[Outcome]:
    """What became of the cases of several grounds that have nothing in common, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return [outcome for outcomes in pool.map(lambda work: work(), works) for outcome in outcomes]


def _batches(chosen: Iterable[Case], together: int) -> Iterable[list[Case]]:
    """Orphans alone, so that the next deploy meets them; what is dead anyway together."""
    batch: list[Case] = []
    for case in chosen:
        if case.fault == DEPLOY and case.step.seconds * (1 - case.share) > _RUNS_ON:
            yield [case]
            continue
        batch.append(case)
        if len(batch) == together:
            yield batch
            batch = []
    if batch:
        yield batch


def _batch(ground: Ground, batch: list[Case], fresh: set[str]) -> list[Outcome]:
    subjects = [ground.new() for _ in batch]
    try:
        with ThreadPoolExecutor(ground.at_once) as pool:
            list(pool.map(ground.strike, subjects, batch))
        wrong = _healed(ground, subjects, fresh)
    finally:
        with ThreadPoolExecutor(ground.at_once) as pool:
            list(pool.map(ground.remove, subjects))
    return [Outcome(ground.name, case, found) for case, found in zip(batch, wrong, strict=True)]


def _healed(ground: Ground, subjects: list[Any], fresh: set[str]) -> list[list[str]]:
    """What is wrong with each after the next deploy and the one after it."""
    inventory = ground.inventory(subjects)
    second, third = inventory.provision(), inventory.provision()

    def look(subject: Any) -> list[str]:
        wrong = [] if second.line(subject.name, "passed") else [f"not healed: {second.err[-3000:]}"]
        wrong += [] if third.line(subject.name, "passed") else [f"red after it was healed: {third.err[-3000:]}"]
        if not wrong:
            wrong = [f"changed again: {change}" for change in third.changes]
        return wrong or differences(fresh, ground.picture(subject)) + ground.leftovers(subject)

    with ThreadPoolExecutor(ground.at_once) as pool:
        return list(pool.map(look, subjects))
