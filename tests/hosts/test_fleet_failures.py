"""Two machines, of which one fails in the middle; two operators on one; a line that goes dead under a lock."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgberth.connectors.lease import LAPSE
from pgberth.model import layout
from tests.deploy.product import Inventory
from tests.hosts.commands import wait_for
from tests.hosts.fleet import ACCOUNT, TenantContext, inventory, started
from tests.hosts.host import Boot, Host

GIVEN_UP = 60  # seconds after which a silent machine has been given up


@dataclass(frozen=True)
class Place:
    """Six tenants on two machines, in two rings."""

    left: Host
    right: Host
    berths: tuple[TenantContext, ...]
    fleet: Inventory

    def on(self, host: Host) -> list[TenantContext]:
        return [context for context in self.berths if context.host is host]


@pytest.fixture(scope="module")
def place(module_hosts: Boot, tmp_path_factory: pytest.TempPathFactory) -> Place:
    left, right = module_hosts("left"), module_hosts("right")
    berths = tuple(
        TenantContext(f"{host.name}-{number}", host, 5500 + number, ring)
        for host in (left, right)
        for number, ring in enumerate(("canary", "canary", "production"))
    )
    return Place(left, right, berths, inventory(tmp_path_factory.mktemp("fleet"), berths))


def initialising(host: Host) -> str:
    """Empty while a command of the deploy makes a tenant's volume there."""
    return host.run(f"pgrep -u {ACCOUNT} -f initdb >/dev/null || echo not yet", check=False).out.strip()


def test_a_machine_powered_off_in_the_middle_stops_its_own_tenants_only_and_the_next_run_finishes_them(
    place: Place, tmp_path: Path
) -> None:
    with started(place.fleet, tmp_path) as run:
        wait_for("the first volume on the right", lambda: initialising(place.right), 300)
        place.right.power_off()
        ended = run.ended(300).failed()
    for context in place.on(place.left):
        assert ended.line(f"{context.name} ", "passed"), ended.err
    for context in place.on(place.right):
        assert ended.line(f"{context.name} ", "FAILED"), ended.err
        assert ended.line(f"{context.name}: not finished: ", "right: lost: "), ended.err
    assert ended.line("HINT: try by hand: ssh", f"root@{place.right.address} true"), ended.err
    # Still off, it is named again, and everything else goes on.
    off = place.fleet.provision().failed()
    for context in place.on(place.right):
        assert off.line(f"{context.name} ", "UNREACHABLE"), off.err
        assert off.line(f"{context.name}: right: unreachable: "), off.err
    place.right.power_on()
    finished = place.fleet.provision().went_well()
    assert finished.hosts_changed() <= {"right", *(context.name for context in place.on(place.right))}
    for context in place.berths:
        assert finished.line(f"{context.name} ", "passed"), finished.err
    place.fleet.provision().changed_nothing()


@contextmanager
def busy(context: TenantContext) -> Iterator[Callable[[], object]]:
    """A command of a killed run still works on the tenant, until it is let end."""
    lock = f"/home/{ACCOUNT}/{layout.lock_file(context.name)}"
    command = context.host.podman.command("exec", "--interactive", "--user", ACCOUNT, context.host.container)
    with subprocess.Popen([*command, "flock", lock, "cat"], stdin=subprocess.PIPE) as orphan:
        assert orphan.stdin is not None
        try:
            wait_for("its lock", lambda: "" if held(context, layout.lock_file(context.name)) else "free", 60)
            yield orphan.stdin.close
        finally:
            orphan.stdin.close()


def held(context: TenantContext, lock: str) -> bool:
    return context.host.run(f"flock --nonblock {lock} true", ACCOUNT, check=False).code != 0


def operated(context: TenantContext) -> bool:
    """Whether an operator holds the tenant."""
    return held(context, f"{layout.lock_file(context.name)}.run")


def working(context: TenantContext) -> str:
    return "" if operated(context) else "nobody works on it"


def free(context: TenantContext) -> str:
    return "somebody works on it" if operated(context) else ""


def test_two_operators_one_tenant_the_second_is_told_who_and_another_tenant_is_in_nobody_s_way(
    place: Place, tmp_path: Path
) -> None:
    one, other = place.on(place.left)[:2]
    with started(place.fleet, tmp_path, "--limit", one.name) as first:
        # Stopped where he has the tenant, so that the test is in no hurry.
        with busy(one):
            wait_for("the first operator", lambda: working(one), 60)
            first.process.send_signal(signal.SIGSTOP)
        second = place.fleet.provision("--limit", one.name).failed()
        assert second.line(f"{one.name}: another operator works on it: ", "@", " since ", "(provision)"), second.err
        place.fleet.provision("--limit", other.name).changed_nothing()
        assert first.process.poll() is None
    wait_for("the killed operator's lock", lambda: free(one), 60)
    # What he left at work is waited for, and then the run goes on.
    with busy(one) as let_end, started(place.fleet, tmp_path, "--limit", one.name) as next_one:
        wait_for("the next operator", lambda: working(one), 60)
        assert next_one.process.poll() is None
        let_end()
        next_one.ended(120).changed_nothing()


def test_a_machine_that_falls_silent_is_given_up_within_a_minute_and_its_locks_with_it(
    place: Place, tmp_path: Path
) -> None:
    there = place.on(place.right)
    why = f"right: lost: root@{place.right.address}:22 "  # silent, or taking no further connection: what is tried first
    with busy(there[0]), started(place.fleet, tmp_path) as run:
        wait_for("the operator", lambda: next(filter(None, map(working, there)), ""), 60)
        place.right.cut_network()
        try:
            wait_for("the machine to be given up", lambda: "" if why in run.said else run.said[-2000:], GIVEN_UP)
            ended = run.ended(120).failed()
            wait_for("its locks", lambda: next(filter(None, map(free, there)), ""), LAPSE + 30)
        finally:
            place.right.restore_network()
    for context in place.on(place.left):
        assert ended.line(f"{context.name} ", "passed"), ended.err
    for context in there:
        assert ended.line(f"{context.name}: not finished: ", why), ended.err
    place.fleet.provision().changed_nothing()
