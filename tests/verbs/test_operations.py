"""What the verbs add of their own: the barrier between machines and tenants, and what a run writes down."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pgberth.checks import pending
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.inventory.load import Fleet
from pgberth.machine.facts import InstalledTenants, MachineContext, MachineObservation
from pgberth.machine.image_inventory import ImageInventory
from pgberth.migrations import operations as migrations_room
from pgberth.migrations.tenant_run import begin
from pgberth.model.tenant import HEAD, Machine, Tenant
from pgberth.report.receipt import Receipt, current_report
from pgberth.verbs import machines, status
from tests.fake_host import FakeHost, Sent, sent
from tests.machine.states import FRESH, READY_AS_ROOT, USER_WITHOUT_PODMAN
from tests.sample import ABSENT, ACME, IMAGE, READY, container, ledger, server, state


def barrier(tenant: Tenant | None, *, failed: bool) -> list[Sent]:
    here = object()
    inventory = SimpleNamespace(get_host=lambda _: here)
    return sent(machines.barrier, FakeHost(), inventory=inventory, failed=[here] if failed else [], tenant=tenant)


def test_a_tenant_passes_where_its_machine_is_well_and_is_no_change() -> None:
    assert barrier(ACME, failed=False) == []


def test_a_machine_passes_whatever_it_is() -> None:
    assert barrier(None, failed=True) == barrier(None, failed=False) == []


def test_a_tenant_of_a_failed_machine_stops_with_the_reason() -> None:
    (refused,) = barrier(ACME, failed=True)
    assert refused.refusal.startswith("acme: its machine @local failed; see above\nHINT: ")


def receipt() -> Receipt:
    return Receipt("provision", "acme", ("canary",), 5501)


def record_pending(found: TenantState | None, tenant: Tenant = ACME, *, executing: bool = True) -> Receipt:
    into = receipt()
    host = FakeHost(facts={TenantObservation: lambda **_: found})
    context = TenantContext(tenant, receipt=into)
    assert sent(pending.record_pending, host, executing=executing, context=context) == []
    return into


def test_a_run_writes_down_what_it_saw() -> None:
    into = record_pending(state())
    assert into.versions == {"postgres": "18.6", "pgvector": "0.8.7", "memory_plugin": "0001"}
    assert into.image == IMAGE.id.removeprefix("sha256:")[:12]
    assert (into.pending, into.notes) == ("", [])


def test_a_run_writes_down_what_only_a_recycle_would_change() -> None:
    assert record_pending(state(), replace(ACME, port=5599)).pending == "port 5501 -> 5599"


@pytest.mark.parametrize("found", [None, state(machine_profile=None, **ABSENT), state(**ABSENT)])
def test_of_a_tenant_that_is_not_there_nothing_is_written_down(found: TenantState | None) -> None:
    into = record_pending(found)
    assert (into.versions, into.image, into.pending) == ({}, "", "")


def test_nothing_is_written_down_while_changes_are_detected() -> None:
    assert record_pending(state(), executing=False).versions == {}


def test_a_version_that_waits_for_the_operator_is_told_and_no_failure() -> None:
    store = replace(ACME, components={"control_plane": HEAD})
    rows = ledger(store)
    parsed = state(store, answer=server(store, ledger=rows)).server
    assert parsed is not None
    (line,) = migrations_room.waiting(store, parsed)
    assert line.startswith("control_plane 0002")
    for name in ("embedding_model", "embedding_model_version", "embedding_dimension"):
        assert name in line


def test_nothing_waits_where_history_is_refused_since_a_check_says_that() -> None:
    edited = [{**row, "template_sha256": "0" * 64, "rendered_sha256": "0" * 64} for row in ledger()]
    parsed = state(answer=server(ledger=edited)).server
    assert parsed is not None
    assert migrations_room.waiting(ACME, parsed) == []


def test_a_tenant_has_one_receipt_a_run() -> None:
    first, second = (begin("provision", ACME).receipt for _ in range(2))
    assert first is second is current_report().receipts["acme"]
    assert (first.verb, first.rings, first.port) == ("provision", ("canary",), 5501)


STATES: list[tuple[TenantState | None, str]] = [
    (None, "machine not ready"),
    (state(machine_profile=None, **ABSENT), "machine not ready"),
    (state(**ABSENT), "absent"),
    (state(container=None, answer=None), "no container, data kept (g1)"),
    (state(container=container(status="exited", pid=0), answer=None), "exited g1"),
    (state(answer=None, server_error="starting up"), "its server is starting, stopping or in recovery"),
    (
        state(container=container(unreachable="its monitor, conmon, is dead")),
        "its container runs, and nobody can reach port 5501",
    ),
]


@pytest.mark.parametrize(("found", "says"), STATES, ids=[says for _, says in STATES])
def test_status_says_in_a_few_words_how_a_tenant_stands(found: TenantState | None, says: str) -> None:
    into = receipt()
    host = FakeHost(facts={TenantObservation: lambda **_: found})
    assert sent(status.state_known, host, context=TenantContext(ACME, receipt=into)) == []
    assert into.state == says


def test_status_says_where_limits_are_not_enforced() -> None:
    for limits in (True, False):
        into = receipt()
        found = state(machine_profile=replace(READY, limits=limits), answer=None)
        host = FakeHost(facts={TenantObservation: lambda found=found, **_: found})
        sent(status.state_known, host, context=TenantContext(ACME, receipt=into))
        assert any("limits are not enforced" in note for note in into.notes) is not limits


def leftovers(carried: dict[str, set[str]] | None, facts: Any = READY_AS_ROOT, *, refused: bool = False) -> list[str]:
    host = FakeHost(facts={MachineObservation: lambda **_: facts, InstalledTenants: lambda **_: carried})
    here, there = Machine("@local"), Machine("db2")
    fleet = Fleet({"@local": here, "db2": there}, {"acme": ACME, "moved": replace(ACME, name="moved", machine=there)})
    assert bool(sent(status.leftovers, host, machine=here, found=fleet)) is refused
    return current_report().notes


def test_a_tenant_that_the_inventory_does_not_name_is_told_with_all_that_is_left_of_it() -> None:
    assert leftovers({"acme": {"container"}, "gone": {"volume:gone-data-g2", "directory"}}) == [
        "@local: unmanaged tenant 'gone': directory, volume:gone-data-g2; kept as it is"
    ]


def test_a_tenant_that_the_inventory_has_on_another_machine_is_left_over_here() -> None:
    assert leftovers({"moved": {"directory", "unit:pgberth-moved.container"}}) == [
        "@local: unmanaged tenant 'moved' (the inventory has it on db2): "
        "directory, unit:pgberth-moved.container; kept as it is"
    ]


@pytest.mark.parametrize("facts", [None, READY_AS_ROOT])
def test_a_machine_that_could_not_be_asked_is_named_and_fails(facts: Any) -> None:
    assert leftovers(None, facts, refused=True) == ["@local: could not list its tenants"]


UNFIT = replace(READY_AS_ROOT, free_kib=1, clock_ahead=-7200, overlaps=frozenset({"bob"}))


@pytest.mark.parametrize("facts", [UNFIT, None, USER_WITHOUT_PODMAN])
def test_what_keeps_a_machine_from_carrying_tenants_is_kept_for_the_end_and_fails_it(facts: Any) -> None:
    host = FakeHost(facts={MachineObservation: lambda **_: facts})
    (refused,) = sent(
        machines.fit, host, context=MachineContext(Machine("db1")), image_inventory=ImageInventory({}, lambda _: False)
    )
    told = obstacles_told(facts)
    assert refused.refusal.startswith(f"db1: this machine is not fit: {told} problem(s), listed at the end of the run")
    assert len(current_report().notes) == told
    assert all(note.startswith("db1: ") and "HINT: " in note for note in current_report().notes)


def obstacles_told(facts: Any) -> int:
    return 3 if facts is UNFIT else 1


def test_a_fit_machine_has_nothing_to_tell_and_is_no_change() -> None:
    host = FakeHost(facts={MachineObservation: lambda **_: READY_AS_ROOT})
    assert (
        sent(
            machines.fit,
            host,
            context=MachineContext(Machine("db1")),
            image_inventory=ImageInventory({}, lambda _: False),
        )
        == current_report().notes
        == []
    )


def test_where_all_is_known_nothing_is_told() -> None:
    assert leftovers({"acme": {"container", "directory"}}) == []
    assert leftovers({}) == []


def test_a_machine_without_the_account_has_no_leftovers() -> None:
    assert leftovers({}, FRESH) == ["@local: the account pgberth does not exist yet"]
