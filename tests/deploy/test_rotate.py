"""New passwords, with no client refused on the way, killed at any step or not."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from tests.deploy.product import Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant
from tests.sampling import often

STEPS = [
    *(f"rotate.roles.{step}" for step in ("stored", "set", "named")),
    *(f"rotate.app.{step}" for step in ("stored", "set", "named", "published", "closed", "forgotten")),
]
REFUSED = r"password authentication failed|is not permitted to log in"


@pytest.fixture(scope="module")
def tenant(site: Site) -> Iterator[Tenant]:
    tenant = site.tenant("rotated")
    yield tenant
    site.remove(tenant)


@pytest.fixture(scope="module")
def inventory(site: Site, tenant: Tenant) -> Inventory:
    inventory = site.inventory(tenant)
    inventory.provision().went_well()
    return inventory


def published(tenant: Tenant) -> tuple[str, str]:
    """Login and password as a client of the tenant reads them."""
    login, password = (tenant.directory / "passfile").read_text().strip().split(":")[3:]
    return login, password


def stored(tenant: Tenant) -> dict[str, str]:
    """Secret file -> password."""
    return {path.name: path.read_text().strip() for path in (tenant.directory / "secrets").iterdir()}


def logs_in(tenant: Tenant, login: str, password: str) -> bool:
    try:
        tenant.connect(login, password).close()
    except psycopg.OperationalError:
        return False
    return True


@dataclass
class Clients:
    """What a tenant's clients lived through. + logins: how many; + refused: their errors"""

    logins: int = 0
    refused: list[str] = field(default_factory=list)


@contextlib.contextmanager
def live(tenant: Tenant, count: int) -> Iterator[Clients]:
    """Clients that read the published file, log in, work for a moment and leave, over and over."""
    lived, over, tally = Clients(), threading.Event(), threading.Lock()

    def work() -> None:
        while not over.is_set():
            try:
                with tenant.connect(*published(tenant)) as session:
                    session.execute("SELECT pg_sleep(0.02)")
            except psycopg.Error as error:
                with tally:
                    lived.refused.append(str(error))
            else:
                with tally:
                    lived.logins += 1
            over.wait(0.05)  # a login is dear: four clients without a pause take a whole processor

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield lived
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


ROTATIONS = often(3, whole=10)


def test_rotations_under_four_live_clients_refuse_nobody(tenant: Tenant, inventory: Inventory) -> None:
    with live(tenant, 4) as clients:
        for _ in range(ROTATIONS):
            old = published(tenant)
            run = inventory.verb("rotate", "--data", "drain=5").went_well()
            assert published(tenant)[0] != old[0]
            with pytest.raises(psycopg.OperationalError, match=REFUSED):
                tenant.connect(*old).close()
            assert run.line("rotated: ", " logins, 0 refused", "4 old passwords refused"), run.err
            seen = clients.logins
            assert not clients.refused, clients.refused
    assert seen > 20
    receipt = json.loads(sorted((tenant.directory / "receipts").glob("*-rotate.json"))[-1].read_text())
    assert receipt["did"]["refused"] == 0
    assert receipt["did"]["logins"] > 1
    assert set(stored(tenant)) == {f"{kind}-v{ROTATIONS + 1}" for kind in ("app", "migrator", "monitor", "superuser")}
    inventory.provision().changed_nothing()


def test_a_session_that_stays_is_ended_when_its_time_is_up(tenant: Tenant, inventory: Inventory) -> None:
    with contextlib.closing(tenant.connect(*published(tenant))) as stays:
        run = inventory.verb("rotate", "--data", "drain=1").went_well()
        assert run.line("rotated: ", "1 old sessions ended"), run.err
        with pytest.raises(psycopg.OperationalError):
            stays.execute("SELECT 1")


@contextlib.contextmanager
def crowded(tenant: Tenant) -> Iterator[int]:
    """The app holds every connection that it gets, and sixty never send a password. The value is how many it got."""
    with contextlib.ExitStack() as held, knocking(tenant.port, 60):
        number = 0
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                held.enter_context(contextlib.closing(tenant.connect(*published(tenant))))
                number += 1
        yield number


@contextlib.contextmanager
def knocking(port: int, connections: int) -> Iterator[None]:
    """So many connections that name the app's role and say no more, each replaced when the server ends it."""
    words = b"user\0memory_app_a\0database\0memory\0\0"
    packet = (len(words) + 8).to_bytes(4, "big") + (3 << 16).to_bytes(4, "big") + words
    over = threading.Event()

    def knock() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5) as line:
                line.sendall(packet)
                while not over.is_set():
                    with contextlib.suppress(TimeoutError):
                        if not line.recv(4096):
                            break
            over.wait(0.05)

    threads = [threading.Thread(target=knock) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def test_the_verbs_work_beside_an_app_that_takes_every_connection_it_gets(tenant: Tenant, inventory: Inventory) -> None:
    with crowded(tenant) as clients:
        assert clients >= 20 + 5, "README promises twenty clients, and the memory plugin has a pool"
        assert inventory.verify().went_well().line("connections of memory_app_", "made as memory_suite")
        inventory.provision().changed_nothing()
        run = inventory.verb("rotate", "--data", "drain=1").went_well()
        assert run.line("rotated: ", " logins, 0 refused", f"{clients} old sessions ended"), run.err
    with crowded(tenant):
        inventory.verb("recycle").went_well()


def some_stored_secret_logs_in(tenant: Tenant) -> dict[str, bool]:
    """Secret kind -> whether one of its stored secrets logs in, as one of its roles."""
    roles = {"app": ("memory_app_a", "memory_app_b"), "migrator": ("memory_migrator",), "monitor": ("memory_monitor",)}
    files = stored(tenant)
    return {
        kind: any(
            logs_in(tenant, role, password) for role in logins for name, password in files.items() if kind in name
        )
        for kind, logins in roles.items()
    }


@pytest.mark.sampled(2)
@pytest.mark.parametrize("step", STEPS)
def test_a_rotation_killed_at_any_step_is_finished_by_the_next(tenant: Tenant, inventory: Inventory, step: str) -> None:
    assert inventory.verb("rotate", "--data", "drain=2", PGBERTH_KILL_AT=step).code == -signal.SIGKILL
    assert some_stored_secret_logs_in(tenant) == {"app": True, "migrator": True, "monitor": True}
    assert logs_in(tenant, *published(tenant)), "a client that reads what is published is refused"
    inventory.verb("rotate", "--data", "drain=2").went_well()
    assert logs_in(tenant, *published(tenant))
    inventory.provision().changed_nothing()
    assert len(stored(tenant)) == 4


@pytest.mark.sampled(1)
@pytest.mark.parametrize("step", ["rotate.app.named", "rotate.roles.set"])
def test_a_deploy_after_a_killed_rotation_leaves_clients_their_way_in(
    tenant: Tenant, inventory: Inventory, step: str
) -> None:
    assert inventory.verb("rotate", "--data", "drain=2", PGBERTH_KILL_AT=step).code == -signal.SIGKILL
    before = published(tenant)
    inventory.provision().went_well()
    assert logs_in(tenant, *before)
    assert logs_in(tenant, *published(tenant))
    inventory.verify().went_well()
    inventory.verb("rotate", "--data", "drain=2").went_well()
    inventory.provision().changed_nothing()


@pytest.mark.parametrize("drain", ["-1", "soon"])
def test_a_drain_that_is_no_time_is_refused_before_anything_is_touched(
    tenant: Tenant, inventory: Inventory, drain: str
) -> None:
    before = stored(tenant)
    run = inventory.verb("rotate", "--data", f"drain={drain}").failed()
    assert run.line("--data drain=", "whole number from 0 to 3600"), run.said
    assert stored(tenant) == before


def test_a_rotation_of_a_tenant_that_is_down_changes_nothing(site: Site, tenant: Tenant, inventory: Inventory) -> None:
    before = stored(tenant)
    site.account.podman("stop", tenant.name)
    started = time.monotonic()
    run = inventory.verb("rotate").failed()
    assert run.line("HINT: "), run.said
    assert stored(tenant) == before
    assert time.monotonic() - started < 60
    inventory.provision().went_well()
