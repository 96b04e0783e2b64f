"""How well and how fast a tenant of the small profile searches: rows, recall and time of each component's statement."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, quantiles

import pytest

from pgberth.model.tenant import COMPONENTS
from tests import searches
from tests.bench.conftest import Ground
from tests.bench.figures import Figure, ms, take
from tests.deploy.tenant import Tenant
from tests.searches import GROUPS, STORES, Answer

ROWS, DIMENSION = 34_000, 1536
FILTERS, LIMITS = (1, 5, 10, 60), (20, 100)
RECALL, SECONDS = 0.95, 0.150
MODEL = ("--data", "model=m", "--data", "hash=h", "--data", f"dimension={DIMENSION}")


@dataclass(frozen=True)
class Searched(Tenant):
    """A tenant whose components all keep embeddings of the same size."""

    def line(self) -> str:
        given = {"control_plane": {**searches.PARAMETERS, "embedding_dimension": DIMENSION}}
        return super().line().replace("components=", f"parameters={given!r}, components=")


@pytest.fixture(scope="module")
def full(ground: Ground) -> tuple[Tenant, list[str]]:
    """A tenant with ROWS embeddings in each component, and what can be asked of it."""
    tenant = Searched(**vars(ground.site.tenant("searched", *COMPONENTS)))
    inventory = ground.site.inventory(tenant)
    ground.provision(inventory)
    inventory.verb("register_model", *MODEL).went_well()
    with tenant.connect("memory_migrator", tenant.password("migrator")) as owner:
        owner.execute("SET ROLE memory_owner")
        owner.execute("SET search_path = public")
        return tenant, searches.fill(owner, STORES.values(), ROWS, DIMENSION)


@pytest.mark.parametrize("groups", FILTERS)
@pytest.mark.parametrize("component", STORES)
def test_every_row_comes_in_time_whatever_the_filter(
    full: tuple[Tenant, list[str]], component: str, groups: int
) -> None:
    tenant, asked = full
    with tenant.connect() as app:
        app.execute(f"SET search_path = {component}, public".encode())
        for limit in LIMITS:
            answers = [*searches.answers(app, STORES[component], asked, groups, limit)]
            judge(f"{component}, {groups} of {GROUPS} groups, limit {limit}", answers)


def judge(name: str, answers: list[Answer]) -> None:
    recall = mean(answer.recall for answer in answers)
    slow = quantiles((answer.seconds for answer in answers), n=20)[-1]
    floor = f"{SECONDS * 1000:.0f} ms"
    take(Figure(f"search {name}: p95, recall {recall:.3f}", ms(slow), floor, slow / SECONDS, 1.0))
    assert [answer.short for answer in answers] == [0] * len(answers)
    assert recall >= RECALL
