"""A deploy that dies at any moment is finished by the next one, and nothing is left lying about."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from tests.deploy.processes import Process, eventually, kill, processes
from tests.deploy.product import Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant
from tests.sampling import SEED, often

SAMPLES = [random.Random(SEED + number).random() for number in range(often(1, whole=3))]  # noqa: S311

Moment = Callable[[Process, Tenant], bool]


def in_initdb(process: Process, tenant: Tenant) -> bool:
    return process.program == "initdb"


def creating_the_container(process: Process, tenant: Tenant) -> bool:
    words = process.argv.split()
    return words[:1] == ["podman"] and "run" in words and f"--name={tenant.name}" in words


def starting_the_container(process: Process, tenant: Tenant) -> bool:
    return process.monitors == tenant.name


def waiting_for_the_server(process: Process, tenant: Tenant) -> bool:
    return process.program == "postgres" and "-D /var/lib/postgresql" in process.argv


def making_the_roles(process: Process, tenant: Tenant) -> bool:
    return process.program == "psql" and process.argv.endswith("-d postgres -f -")


@pytest.fixture
def tenant(site: Site) -> Iterator[Tenant]:
    """A tenant that is nowhere yet."""
    tenant = site.tenant("killed")
    yield tenant
    site.remove(tenant)


@dataclass(frozen=True)
class Standing:
    """A tenant whose deploy nobody killed. + seconds: what that deploy took"""

    tenant: Tenant
    inventory: Inventory
    seconds: float


@pytest.fixture(scope="module")
def standing(site: Site) -> Iterator[Standing]:
    """For tests that harm a running tenant and leave it whole."""
    tenant = site.tenant("standing")
    inventory = site.inventory(tenant)
    yield Standing(tenant, inventory, inventory.provision().went_well().seconds)
    site.remove(tenant)


def is_whole(site: Site, tenant: Tenant, inventory: Inventory) -> None:
    """The next deploy is green, the one after it changes nothing, and there is one of each thing."""
    run = inventory.provision().went_well()
    assert run.line(tenant.name, "passed"), run.err
    inventory.provision().changed_nothing()
    assert site.leftovers(tenant) == []
    assert site.volumes(tenant) == [tenant.volume]
    with tenant.connect() as app:
        assert app.execute("SELECT count(*) FROM memory_plugin.memory_records").fetchone() == (0,)


RUNS_ON, DIES_TOO = "its command runs on", "its command dies too"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("moment", "orphan"),
    [
        (in_initdb, RUNS_ON),
        (in_initdb, DIES_TOO),
        (creating_the_container, RUNS_ON),
        (creating_the_container, DIES_TOO),
        (starting_the_container, DIES_TOO),
        (waiting_for_the_server, DIES_TOO),
        (making_the_roles, RUNS_ON),
        (making_the_roles, DIES_TOO),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.replace("_", " "),
)
def test_a_deploy_killed_while_it_is(site: Site, tenant: Tenant, moment: Moment, orphan: str) -> None:
    inventory = site.inventory(tenant)
    for _ in range(5):
        if killed(site, tenant, inventory, moment, orphan):
            break
        site.remove(tenant)  # on a busy machine a short moment may pass unseen
    else:
        pytest.fail("the deploy ended before that moment, five times")
    is_whole(site, tenant, inventory)


def killed(site: Site, tenant: Tenant, inventory: Inventory, moment: Moment, orphan: str) -> bool:
    """Whether a deploy was killed at that moment, before it ended."""
    with inventory.start() as deploy:
        others = {process.pid for process in processes(site.account.uid)}

        def reached() -> bool:
            new = (process for process in processes(site.account.uid) if process.pid not in others)
            return deploy.poll() is not None or any(moment(process, tenant) for process in new)

        eventually(reached, seconds=180, pause=0.005)
        if deploy.poll() is not None:
            return False
        deploy.kill()
        if orphan == DIES_TOO:
            site.kill_commands()
    return True


@pytest.mark.sampled(1)
@pytest.mark.parametrize("step", ["migrate.memory_plugin.0001.ran", "migrate.memory_plugin.0001.applied"])
def test_a_deploy_killed_in_a_migration(site: Site, tenant: Tenant, step: str) -> None:
    inventory = site.inventory(tenant)
    assert inventory.provision(PGBERTH_KILL_AT=step).code == -signal.SIGKILL
    is_whole(site, tenant, inventory)


@pytest.mark.parametrize("part", SAMPLES, ids=[f"{part:.0%} of the way" for part in SAMPLES])
def test_a_deploy_killed_at_any_other_moment(site: Site, tenant: Tenant, standing: Standing, part: float) -> None:
    inventory = site.inventory(tenant)
    with inventory.start() as deploy:
        time.sleep(part * standing.seconds)
        deploy.kill()
        if part < 0.5:
            site.kill_commands()
    is_whole(site, tenant, inventory)


def test_an_interrupted_deploy_says_so_and_is_no_success(site: Site, tenant: Tenant) -> None:
    inventory = site.inventory(tenant)
    with inventory.start() as deploy:
        assert eventually(lambda: any(in_initdb(process, tenant) for process in processes(site.account.uid)), 180)
        deploy.send_signal(signal.SIGINT)
        assert deploy.wait(180) == 130
    is_whole(site, tenant, inventory)


def test_what_was_committed_survives_the_death_of_the_server(site: Site, standing: Standing) -> None:
    tenant, inventory = standing.tenant, standing.inventory
    namespace = "INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('team:crash', 'team')"
    write = (
        "INSERT INTO memory_plugin.memory_records (namespace, content, kind, source)"
        " VALUES ('team:crash', %s, 'fact', 'user')"
    )
    acknowledged: list[str] = []

    def writer() -> None:
        with tenant.connect() as app:
            try:
                for number in range(1_000_000):
                    app.execute(write, [str(number)])
                    acknowledged.append(str(number))
            except psycopg.OperationalError:
                return  # the server is gone

    with tenant.connect() as app:
        app.execute(namespace)
    undecided = tenant.connect()
    undecided.execute("BEGIN")
    undecided.execute(write, ["never committed"])
    thread = threading.Thread(target=writer)
    thread.start()
    assert eventually(lambda: len(acknowledged) > 200)
    site.account.podman("kill", "--signal", "KILL", tenant.name)
    thread.join(60)
    undecided.close()
    run = inventory.provision().went_well()
    assert f"container runs: {tenant.name}" in run.changes
    with tenant.connect() as app:
        found = {content for (content,) in app.execute("SELECT content FROM memory_plugin.memory_records").fetchall()}
    assert set(acknowledged) <= found
    # The last one may have been committed without the writer hearing of it.
    assert len(found) <= len(acknowledged) + 1
    assert "never committed" not in found
    with tenant.connect() as app:
        app.execute("DELETE FROM memory_plugin.memory_namespaces WHERE name = 'team:crash'")  # and its records
    inventory.provision().changed_nothing()
    assert site.leftovers(tenant) == []


def test_a_server_that_was_stopped_is_started(site: Site, standing: Standing) -> None:
    tenant, inventory = standing.tenant, standing.inventory
    identity = tenant.superuser("SELECT system_identifier FROM pg_control_system()")
    site.account.podman("stop", tenant.name)
    run = inventory.verify().failed()
    assert run.line(tenant.name, "its container is exited"), run.err
    assert f"container runs: {tenant.name}" in inventory.provision().went_well().changes
    assert tenant.superuser("SELECT system_identifier FROM pg_control_system()") == identity


def test_a_killed_monitor_is_noticed_and_the_server_is_started_anew(site: Site, standing: Standing) -> None:
    tenant, inventory = standing.tenant, standing.inventory
    for process in processes(site.account.uid):
        if process.monitors == tenant.name:
            kill(process.pid)
    is_whole(site, tenant, inventory)
