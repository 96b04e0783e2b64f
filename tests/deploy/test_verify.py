"""Verify is green where all is well and names every fault a hand can plant; provision mends what holds no data."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from pgberth.checks.suite import ALL
from tests.deploy.conftest import Deployed
from tests.deploy.planted import LEFT_ALONE, REPAIRED, Fault
from tests.deploy.product import Inventory, Run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant


@dataclass
class Subject:
    """
    A tenant for faults to be planted in.

    + last: the run before; where it was green, so was the tenant when the fault was planted
    """

    tenant: Tenant
    inventory: Inventory
    last: Run

    def provision(self) -> Run:
        self.last = self.inventory.provision()
        return self.last

    def verify(self) -> Run:
        self.last = self.inventory.verify()
        return self.last

    def red(self) -> dict[str, list[str]]:
        """Check -> what it said in the last run, for each that was red."""
        found: dict[str, list[str]] = {}
        for line in self.last.err.splitlines():
            if line.startswith(f"{self.tenant.name}: RED "):
                check, _, problem = line.removeprefix(f"{self.tenant.name}: RED ").partition(": ")
                found.setdefault(check, []).append(problem)
        return found


@pytest.fixture(scope="module")
def standing(site: Site) -> Iterator[Subject]:
    tenant = site.tenant("faulty", "control_plane", "memory_plugin", "knowledge")
    inventory = site.inventory(tenant)
    inventory.provision().went_well()
    yield Subject(tenant, inventory, inventory.verify())
    site.remove(tenant)


@pytest.fixture
def subject(standing: Subject) -> Subject:
    """The same tenant for every fault, proven green before each."""
    if standing.last.code != 0:
        standing.provision()
    standing.last.went_well()
    return standing


def test_verify_prints_every_check_of_every_tenant(deployed: Deployed) -> None:
    run = deployed.both.verify().went_well()
    passed = run.line(f"{deployed.two.name}: passed: ").split()[2:]
    assert sorted(passed) == sorted(check.id for check in ALL if not check.beyond_loopback)
    asked = {check.id for check in ALL if check.component in (None, "memory_plugin") and not check.beyond_loopback}
    assert set(run.line(f"{deployed.one.name}: passed: ").split()[2:]) == asked


def test_verify_changes_nothing(deployed: Deployed) -> None:
    """Its first run neither, which has to make the catalogue that drift is measured against."""
    for tenant in deployed.tenants:
        (tenant.directory / "catalogue.json").unlink(missing_ok=True)
    deployed.both.verify().changed_nothing()
    deployed.both.verify().changed_nothing()


def test_two_first_verifies_at_once_do_not_get_into_each_others_way(deployed: Deployed) -> None:
    for tenant in deployed.tenants:
        (tenant.directory / "catalogue.json").unlink(missing_ok=True)
    with ThreadPoolExecutor() as pool:
        for run in pool.map(lambda _: deployed.both.verify(), range(3)):
            run.changed_nothing()
    left = "SELECT datname FROM pg_database WHERE datname LIKE 'memory%'"
    assert [tenant.superuser(left) for tenant in deployed.tenants] == ["memory", "memory"]


def test_every_check_has_a_fault_that_turns_it_red() -> None:
    turned = frozenset().union(*(fault.red for fault in (*REPAIRED, *LEFT_ALONE)))
    # The last needs a systemd to be spoilt: tests/hosts/test_supervisors.py does that.
    elsewhere = {"drift", "container-supervised", "tls-only", "tls-certificate"}  # tests/hosts open those
    assert {check.id for check in ALL} <= turned | elsewhere


@pytest.mark.parametrize("fault", REPAIRED, ids=lambda fault: fault.name)
def test_a_fault_that_holds_no_data_is_named_by_verify_and_mended_by_provision(subject: Subject, fault: Fault) -> None:
    tenant = subject.tenant
    fault.plant(tenant)
    verify_names(subject, fault)
    run = subject.provision().went_well()
    assert run.changes == [f"{fault.mended_by}: {tenant.name}", f"receipt is kept: {tenant.name}"]
    assert run.line("repair", fault.mended), run.err


@pytest.mark.parametrize("fault", LEFT_ALONE, ids=lambda fault: fault.name)
def test_a_fault_that_may_hold_data_stays_until_a_hand_mends_it(subject: Subject, fault: Fault) -> None:
    tenant = subject.tenant
    fault.plant(tenant)
    verify_names(subject, fault)
    container = tenant.container()["Id"]
    run = subject.provision().failed()
    assert fault.says in run.err
    assert tenant.container()["Id"] == container
    assert fault.undo is not None
    fault.undo(tenant)  # fails where provision has done it, or something else, already
    if tenant.name not in tenant.account.podman("ps", "--format", "{{.Names}}").out.split():
        subject.provision()
    subject.verify().went_well()


def test_a_strangers_table_among_ours_is_drift_and_is_never_touched(subject: Subject) -> None:
    tenant = subject.tenant
    tenant.superuser("CREATE TABLE memory_plugin.extra AS SELECT 1 AS kept")
    run = subject.verify().failed()
    assert set(subject.red()) == {"drift"}
    assert run.line("RED drift: table memory_plugin.extra is not wanted")
    subject.provision().changed_nothing()
    assert tenant.superuser("SELECT kept FROM memory_plugin.extra") == "1"
    tenant.superuser("DROP TABLE memory_plugin.extra")
    subject.verify().went_well()


def verify_names(subject: Subject, fault: Fault) -> None:
    """Verify fails, by these checks alone, with a line that says what is wrong."""
    run = subject.verify().failed()
    red = subject.red()
    # `drift` compares everything with a fresh run, and so says many a thing once more.
    assert set(red) - {"drift"} == fault.red, run.err
    assert any(fault.says in problem for problems in red.values() for problem in problems), run.err
