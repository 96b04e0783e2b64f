"""Verify is green where all is well and names every fault a hand can plant; provision mends what holds no data."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from pgberth.checks.suite import ALL
from tests.deploy.conftest import Deployed
from tests.deploy.planted import LEFT_ALONE, REPAIRED, Fault
from tests.deploy.product import Inventory, Run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant
from tests.runbook import page

AT_ONCE = 6  # faults planted side by side, each in a tenant of its own: a run costs little more for another tenant


@dataclass(frozen=True)
class Outcome:
    """
    What became of a fault.

    + before, after: the container's id around the provision
    + undone: why it could not be undone by hand, empty where it was; finally: the verify after that
    """

    tenant: Tenant
    verified: Run
    provisioned: Run
    before: str
    after: str
    undone: str = ""
    finally_verified: Run | None = None

    def line(self, *words: str) -> str:
        """The first line of the provision about this tenant that has all of these words."""
        return self.provisioned.line(self.tenant.name, *words)

    def changes(self) -> list[str]:
        """Names of the operations that changed this tenant."""
        done = (change.rpartition(": ") for change in self.provisioned.changes)
        return [operation for operation, _, host in done if host == self.tenant.name]


@dataclass(frozen=True)
class Subjects:
    """Tenants for faults to be planted in, each proven green before."""

    tenants: list[Tenant]
    inventory: Inventory

    def planted(self, faults: Sequence[Fault]) -> Iterator[tuple[Fault, Outcome]]:
        """Each fault in a tenant, named by one verify and met by one provision."""
        subjects = self.tenants[: len(faults)]
        for fault, tenant in zip(faults, subjects, strict=True):
            fault.plant(tenant)
        verified = self.inventory.verify()
        before = [tenant.container()["Id"] for tenant in subjects]
        provisioned = self.inventory.provision()
        for fault, tenant, kept in zip(faults, subjects, before, strict=True):
            yield fault, Outcome(tenant, verified, provisioned, kept, tenant.container()["Id"])

    def repaired(self, faults: Sequence[Fault]) -> dict[str, Outcome]:
        """Name -> what became of it, of faults that provision repairs."""
        found = {fault.name: outcome for fault, outcome in self.planted(faults)}
        if any(outcome.provisioned.code for outcome in found.values()):
            self.inventory.provision().went_well()
        return found

    def left_alone(self, faults: Sequence[Fault]) -> dict[str, Outcome]:
        """Name -> what became of it, of faults that a hand must undo."""
        found = dict(self.planted(faults))
        undone = {fault: _undone(fault, outcome.tenant) for fault, outcome in found.items()}
        account = self.tenants[0].account
        running = account.podman("ps", "--format", "{{.Names}}").out.split()
        if not {tenant.name for tenant in self.tenants} <= set(running):
            self.inventory.provision()
        verified = self.inventory.verify()
        if verified.code:
            self.inventory.provision().went_well()
        return {
            fault.name: replace(outcome, undone=undone[fault], finally_verified=verified)
            for fault, outcome in found.items()
        }


def _undone(fault: Fault, tenant: Tenant) -> str:
    assert fault.undo is not None
    try:
        fault.undo(tenant)  # fails where provision has done it, or something else, already
    except AssertionError as error:
        return str(error) or "it could not be undone"
    return ""


def red(run: Run, tenant: Tenant) -> dict[str, list[str]]:
    """Check -> what it said of the tenant, for each that was red."""
    found: dict[str, list[str]] = {}
    for line in run.err.splitlines():
        if line.startswith(f"{tenant.name}: RED "):
            check, _, problem = line.removeprefix(f"{tenant.name}: RED ").partition(": ")
            found.setdefault(check, []).append(problem)
    return found


def selected(request: pytest.FixtureRequest, test: str) -> list[Fault]:
    """The faults of a test's cases in this run."""
    items = (item for item in request.session.items if isinstance(item, pytest.Function) and item.originalname == test)
    names = {item.callspec.id for item in items}
    return [fault for fault in (*REPAIRED, *LEFT_ALONE) if fault.name in names]


def batches(faults: Sequence[Fault]) -> Iterator[Sequence[Fault]]:
    return (faults[first : first + AT_ONCE] for first in range(0, len(faults), AT_ONCE))


NAMED_AND_REPAIRED = "test_a_fault_that_holds_no_data_is_named_by_verify_and_mended_by_provision"
NAMED_AND_LEFT = "test_a_fault_that_may_hold_data_stays_until_a_hand_mends_it"


@pytest.fixture(scope="module")
def subjects(request: pytest.FixtureRequest, site: Site) -> Iterator[Subjects]:
    size = min(AT_ONCE, max(1, len(selected(request, NAMED_AND_REPAIRED)), len(selected(request, NAMED_AND_LEFT))))
    tenants = [site.tenant(f"faulty{number}", "control_plane", "memory_plugin", "knowledge") for number in range(size)]
    inventory = site.inventory(*tenants)
    inventory.provision().went_well()
    inventory.verify().went_well()
    yield Subjects(tenants, inventory)
    for tenant in tenants:
        site.remove(tenant)


@pytest.fixture(scope="module")
def repaired(request: pytest.FixtureRequest, subjects: Subjects) -> dict[str, Outcome]:
    faults = selected(request, NAMED_AND_REPAIRED)
    return {name: outcome for batch in batches(faults) for name, outcome in subjects.repaired(batch).items()}


@pytest.fixture(scope="module")
def left_alone(request: pytest.FixtureRequest, subjects: Subjects) -> dict[str, Outcome]:
    faults = selected(request, NAMED_AND_LEFT)
    return {name: outcome for batch in batches(faults) for name, outcome in subjects.left_alone(batch).items()}


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


def test_an_alert_can_leave_out_what_the_checks_let_the_server_refuse(deployed: Deployed) -> None:
    """By the runbook's own command."""
    log = deployed.two.directory / "server.log"
    began = log.stat().st_size
    deployed.both.verify().went_well()
    written = log.read_bytes()[began:].decode()
    [command] = [line for step in page("look-at-a-tenant").steps for line in step.commands if "grep -Ev" in line]
    found = subprocess.run(
        ["sh", "-c", command.split("2>&1 | ")[1]], input=written, capture_output=True, text=True, check=False
    )
    assert "ERROR:  permission denied" in written
    assert (found.stdout, found.stderr) == ("", "")


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


@pytest.mark.sampled(12)
@pytest.mark.parametrize("fault", REPAIRED, ids=lambda fault: fault.name)
def test_a_fault_that_holds_no_data_is_named_by_verify_and_mended_by_provision(
    repaired: dict[str, Outcome], fault: Fault
) -> None:
    outcome = repaired[fault.name]
    verify_named(outcome, fault)
    assert outcome.tenant.name not in outcome.provisioned.results["failed_hosts"], outcome.provisioned.said
    assert outcome.changes() == [fault.mended_by, "receipt is kept"]
    assert outcome.line("repair", fault.mended), outcome.provisioned.err


@pytest.mark.sampled(6)
@pytest.mark.parametrize("fault", LEFT_ALONE, ids=lambda fault: fault.name)
def test_a_fault_that_may_hold_data_stays_until_a_hand_mends_it(left_alone: dict[str, Outcome], fault: Fault) -> None:
    outcome = left_alone[fault.name]
    verify_named(outcome, fault)
    assert outcome.tenant.name in outcome.provisioned.failed().results["failed_hosts"], outcome.provisioned.said
    assert outcome.line(fault.says), outcome.provisioned.err
    assert outcome.before == outcome.after
    assert outcome.undone == ""
    assert outcome.finally_verified is not None
    assert red(outcome.finally_verified, outcome.tenant) == {}, outcome.finally_verified.err
    assert outcome.finally_verified.line(f"{outcome.tenant.name}: passed: "), outcome.finally_verified.err


def test_a_strangers_table_among_ours_is_drift_and_is_never_touched(subjects: Subjects) -> None:
    tenant, inventory = subjects.tenants[0], subjects.inventory
    tenant.superuser("CREATE TABLE memory_plugin.extra AS SELECT 1 AS kept")
    run = inventory.verify().failed()
    assert set(red(run, tenant)) == {"drift"}
    assert run.line(f"{tenant.name}: RED drift: table memory_plugin.extra is not wanted")
    inventory.provision().changed_nothing()
    assert tenant.superuser("SELECT kept FROM memory_plugin.extra") == "1"
    tenant.superuser("DROP TABLE memory_plugin.extra")
    inventory.verify().went_well()


def verify_named(outcome: Outcome, fault: Fault) -> None:
    """Verify fails, by these checks alone, with a line that says what is wrong."""
    run = outcome.verified.failed()
    found = red(run, outcome.tenant)
    # `drift` compares everything with a fresh run, and so says many a thing once more.
    assert set(found) - {"drift"} == fault.red, run.err
    assert any(fault.says in problem for problems in found.values() for problem in problems), run.err
