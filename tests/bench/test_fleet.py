"""How long a fleet takes: twenty tenants over two throwaway hosts, which share this machine's cores."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgberth.inventory import Image
from tests.bench.conftest import KEEPS_BYTECODE, MANY, start_up
from tests.bench.figures import Figure, middle, s, seconds, take
from tests.bench.floor import Account, Ended, Floor, floor_for
from tests.deploy.product import BUILDING, Inventory, Run
from tests.hosts import server_image
from tests.hosts.fleet import ACCOUNT, TenantContext, inventory
from tests.hosts.host import Boot, Host

ROUNDS = 3
FROM_NOTHING = 1.4  # times the script
SECOND_RUN, AFTER_BOOT = 9.0, 33.0  # times pyinfra's start-up


@dataclass(frozen=True)
class Fleet:
    """Two hosts, ready and with the image; half of the tenants belongs on each."""

    place: Path
    hosts: tuple[Host, Host]
    berths: list[TenantContext]

    def provision(self) -> Run:
        return inventory(self.place, self.berths).provision(seconds=BUILDING, **KEEPS_BYTECODE).went_well()


@pytest.fixture(scope="module")
def bare(module_hosts: Boot, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    hosts = module_hosts("benchone"), module_hosts("benchtwo")
    berths = [
        TenantContext(
            f"team{number:02}", hosts[number % 2], 5501 + number, ring="production" if number > 1 else "canary"
        )
        for number in range(MANY)
    ]
    made = Fleet(tmp_path_factory.mktemp("fleet"), hosts, berths)
    first = [TenantContext(f"first{number}", host, 5600) for number, host in enumerate(hosts)]
    inventory(made.place, first).provision(seconds=BUILDING).went_well()
    return made


@pytest.fixture(scope="module")
def from_nothing(bare: Fleet) -> Figure:
    """All of them, made and proven, between two turns of the script."""
    floors = [slower_host(bare, "first")]
    took = bare.provision().seconds
    floors.append(slower_host(bare, "second"))
    floor = middle(floors)
    return Figure(f"{MANY} tenants over 2 hosts from nothing", s(took), s(floor), took / floor, FROM_NOTHING)


@pytest.fixture(scope="module")
def fleet(bare: Fleet, from_nothing: Figure) -> Inventory:
    return inventory(bare.place, bare.berths)


def slower_host(fleet: Fleet, turn: str) -> float:
    """Seconds of the shell script, all tenants of a host at once and both hosts at once, as a deploy has them."""
    image = Image(archive=str(server_image.provide()))
    scripts = [floor_for(account_of(one.host), f"{turn}{one.port}", one.port + MANY, image) for one in fleet.berths]
    try:
        return seconds(lambda: at_once(scripts, Floor.make))
    finally:
        at_once(scripts, Floor.stop)


def at_once(scripts: list[Floor], act: Callable[[Floor], None]) -> None:
    with ThreadPoolExecutor(len(scripts)) as pool:
        list(pool.map(act, scripts))


def account_of(host: Host) -> Account:
    def run(*command: str, stdin: str = "") -> Ended:
        return host.run(shlex.join(command), ACCOUNT, stdin=stdin, timeout=BUILDING)

    return run


def judge(name: str, taken: list[float], started: list[float], limit: float) -> None:
    factor = middle(one / start for one, start in zip(taken, started, strict=True))
    floor = f"{s(middle(started))} start-up"
    take(Figure(name, s(middle(taken)), floor, factor, limit))


def test_twenty_tenants_over_two_hosts_take_1_4_times_what_the_slower_host_takes_by_script(
    from_nothing: Figure,
) -> None:
    take(from_nothing)


def test_a_second_run_over_them_with_the_smoke_suite_takes_9_times_the_start_up(fleet: Inventory, bare: Fleet) -> None:
    started, taken = [], []
    for _ in range(ROUNDS):
        started.append(start_up(bare.place))
        taken.append(fleet.provision(seconds=BUILDING, **KEEPS_BYTECODE).changed_nothing().seconds)
    judge(f"second run, {MANY} tenants over 2 hosts", taken, started, SECOND_RUN)


def test_after_the_end_of_a_boot_all_tenants_of_a_host_are_soon_green(fleet: Inventory, bare: Fleet) -> None:
    started = start_up(bare.place)
    bare.hosts[0].reboot()
    mine = [one for one in bare.berths if one.host is bare.hosts[0]]

    def green() -> None:
        for context in mine:
            context.wait_until_running()
        inventory(bare.place, mine).verify().went_well()

    judge(f"{len(mine)} tenants green after a boot's end", [seconds(green)], [started], AFTER_BOOT)
