"""
How long it takes to attack a tenant, and to give it new passwords.

The last file of its directory: the others log in with the passwords that a tenant was made with.
"""

from __future__ import annotations

from tests.bench.conftest import KEEPS_BYTECODE, Ground
from tests.bench.figures import Figure, middle, s, take
from tests.deploy.product import SECONDS

ROUNDS = 5
ATTACKED, ROTATED = 1.2, 2.0  # times pyinfra's start-up, beyond it


def test_all_checks_of_a_tenant_take_little_more_than_pyinfras_start_up(ground: Ground) -> None:
    inventory = ground.site.inventory(ground.alone)
    inventory.verify().went_well()  # remembers what a fresh run's catalogue looks like, once
    judge(ground, "verify of a tenant", ATTACKED, "verify")


def test_a_rotation_takes_twice_pyinfras_start_up_where_no_client_holds_on_to_its_session(ground: Ground) -> None:
    judge(ground, "rotation, no drain, smoke suite included", ROTATED, "rotate", "--data", "drain=0")


def judge(ground: Ground, name: str, limit: float, verb: str, *options: str) -> None:
    inventory = ground.site.inventory(ground.alone)
    taken, started = [], []
    for _ in range(ROUNDS):
        started.append(ground.start_up())
        run = inventory.verb(verb, *options, seconds=SECONDS, **KEEPS_BYTECODE).went_well()
        taken.append(run.seconds)
    factor = middle((whole - start) / start for whole, start in zip(taken, started, strict=True))
    absolute, floor = s(middle(taken)), f"{s(middle(started))} start-up"
    take(Figure(f"{name}, beyond start-up", absolute, floor, factor, limit))
