"""How long a deploy takes that has nothing to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pytest

from tests.bench.conftest import MANY, Ground
from tests.bench.figures import Figure, middle, s, take
from tests.deploy.tenant import Tenant

ROUNDS = 5
Case = tuple[int, tuple[str, ...]]

NO_SMOKE = ("--data", "smoke=false")
# Times pyinfra's start-up.
LIMITS: Mapping[Case, float] = {
    (1, NO_SMOKE): 1.5,
    (10, NO_SMOKE): 4.0,
    (MANY, NO_SMOKE): 8.0,
    (1, ()): 2.0,
    (10, ()): 4.0,
}
TWICE_AS_MANY = 2.2


@dataclass(frozen=True)
class Taken:
    """One run that changed nothing, and pyinfra's start-up right before it."""

    seconds: float
    start_up: float

    @property
    def factor(self) -> float:
        return self.seconds / self.start_up


class Runs:
    """No-change runs of so many tenants, with smoke or without, in turn."""

    def __init__(self, ground: Ground, tenants: list[Tenant]):
        self.ground = ground
        self.tenants = tenants

    @cached_property
    def taken(self) -> Mapping[Case, list[Taken]]:
        found: defaultdict[Case, list[Taken]] = defaultdict(list)
        inventories = {count: self.ground.site.inventory(*self.tenants[:count]) for count, _ in LIMITS}
        for _ in range(ROUNDS):
            for count, options in LIMITS:
                start_up = self.ground.start_up()
                run = self.ground.provision(inventories[count], *options).changed_nothing()
                found[count, options].append(Taken(run.seconds, start_up))
        return found


@pytest.fixture(scope="module")
def runs(ground: Ground, many: list[Tenant]) -> Runs:
    return Runs(ground, many)


@pytest.mark.parametrize("case", LIMITS, ids=lambda case: f"{case[0]}-{'no-smoke' if case[1] else 'smoke'}")
def test_a_second_run_takes_little_more_than_pyinfras_start_up(runs: Runs, case: Case) -> None:
    count, options = case
    taken = runs.taken[case]
    name = f"second run, {count} tenants, {'no smoke' if options else 'with smoke'}"
    floor = f"{s(middle(one.start_up for one in taken))} start-up"
    absolute = s(middle(one.seconds for one in taken))
    take(Figure(name, absolute, floor, middle(one.factor for one in taken), LIMITS[case]))


def test_twenty_tenants_take_at_most_2_2_times_what_ten_take(runs: Runs) -> None:
    ten, twenty = runs.taken[10, NO_SMOKE], runs.taken[MANY, NO_SMOKE]
    ratio = middle(many.seconds / few.seconds for few, many in zip(ten, twenty, strict=True))
    absolute, floor = (s(middle(one.seconds for one in taken)) for taken in (twenty, ten))
    take(Figure("second run, 20 tenants to 10", absolute, floor, ratio, TWICE_AS_MANY))
