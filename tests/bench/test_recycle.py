"""How long a recycle cuts clients off, beside a container just removed and made again; and that all is kept."""

from __future__ import annotations

import shlex

import pytest

from pgberth.database.write_probe import WriteProbe, WriteReport
from pgberth.model.secret import Secret
from tests.bench.conftest import Ground
from tests.bench.figures import Figure, middle, take
from tests.deploy.product import Inventory
from tests.deploy.tenant import Tenant
from tests.deploy.test_recycle import Writers, newest_receipt

PAIRS = 5
RECYCLES = 20


@pytest.fixture(scope="module")
def inventory(ground: Ground) -> Inventory:
    return ground.site.inventory(ground.alone)


def bare(tenant: Tenant) -> int:
    """Milliseconds that a client of the same kind is cut off by the least that could be done: no check, no way back."""
    pulse = WriteProbe(Secret(tenant.password("migrator")), ("127.0.0.1", tenant.port))
    pulse.start()
    command = shlex.join(tenant.container()["Config"]["CreateCommand"])
    tenant.superuser("CHECKPOINT")
    tenant.account.run("sh", "-c", f"podman rm --force --time 60 {tenant.name} && {command}")
    assert pulse.wait_for_write()
    beat: WriteReport = pulse.stop()
    assert beat.lost == 0
    return beat.gap_ms


def recycled(inventory: Inventory, tenant: Tenant) -> int:
    inventory.verb("recycle").went_well()
    did = newest_receipt(tenant)["did"]
    assert (did["outcome"], did["lost"]) == ("recycled", 0)
    gap: int = did["gap_ms"]
    return gap


def test_the_gap_of_a_recycle_is_little_more_than_that_of_a_bare_one(ground: Ground, inventory: Inventory) -> None:
    pairs = [(recycled(inventory, ground.alone), bare(ground.alone)) for _ in range(PAIRS)]
    ratio = middle(ours / floor for ours, floor in pairs)
    ours, floor = (middle(values) for values in zip(*pairs, strict=True))
    take(Figure("gap of a recycle", f"{ours:.0f} ms", f"bare {floor:.0f} ms", ratio, 1.4))


def test_twenty_recycles_under_four_writers_lose_nothing(ground: Ground, inventory: Inventory) -> None:
    with Writers(ground.alone, "team:bench") as writers:
        gaps = [recycled(inventory, ground.alone) for _ in range(RECYCLES)]
    lost = len(writers.lost())
    name = f"writes lost of {len(writers.acknowledged)} in {RECYCLES} recycles under 4 writers"
    take(Figure(name, str(lost), f"gap {middle(gaps):.0f} ms", float(lost)))
    assert lost == 0
