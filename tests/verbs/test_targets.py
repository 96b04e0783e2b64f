"""The room of schemas as the verbs use it: what is applied, repaired or refused, from one look at the server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from pyinfra.api import FunctionCommand

from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.database import problems
from pgberth.migrations import ledger as heads
from pgberth.migrations import operations, runner, upgrade
from pgberth.migrations.verify import REPAIRABLE
from pgberth.model.problems import Problem, Refused
from pgberth.model.sessions import Activity
from pgberth.model.tenant import COMPONENTS, HEAD, Tenant
from tests.fake_host import FakeHost, Sent, sent
from tests.sample import ABSENT, ACME, container, ledger, server, state
from tests.verbs.test_status import SESSION, WHO

ALL_THREE = replace(ACME, components=dict.fromkeys(COMPONENTS, HEAD))


def do(found: TenantState | None, tenant: Tenant = ACME) -> list[Any]:
    host = FakeHost(facts={TenantObservation: lambda **_: found})
    return sent(operations.at_targets, host, context=TenantContext(tenant, ""))


WorkedOn = Callable[[list[Any]], list[tuple[str, str]]]


@pytest.fixture
def worked_on(monkeypatch: pytest.MonkeyPatch) -> WorkedOn:
    """What a session of the migrator's does for the commands: ("apply" or "repair", component), in order."""
    done: list[tuple[str, str]] = []

    @contextmanager
    def shared(connect: Any) -> Iterator[Any]:
        yield connect

    monkeypatch.setattr(upgrade, "shared", shared)
    monkeypatch.setattr(runner, "apply", lambda _, name, *__, **___: done.append(("apply", name)))
    monkeypatch.setattr(upgrade, "_repair", lambda _, __, name: done.append(("repair", name)))

    def carried_out(yielded: list[Any]) -> list[tuple[str, str]]:
        for command in yielded:
            assert isinstance(command, FunctionCommand)
            _, work = command.args
            work(None)
        return done

    return carried_out


def repairing(found: TenantState | None, tenant: Tenant = ACME) -> list[Any]:
    host = FakeHost(facts={TenantObservation: lambda **_: found})
    return sent(operations.schemas_repaired, host, context=TenantContext(tenant, ""))


def having(tenant: Tenant = ACME, **told: Any) -> TenantState:
    return state(tenant, answer=server(tenant, **told))


def test_schemas_at_their_targets_are_left_alone() -> None:
    assert do(state()) == []
    assert do(state(ALL_THREE), ALL_THREE) == []


@pytest.mark.parametrize("found", [None, state(machine_profile=None, **ABSENT), state(**ABSENT)])
def test_nothing_is_done_to_a_tenant_that_is_not_there(found: TenantState | None) -> None:
    assert do(found) == []


def test_a_server_that_does_not_answer_is_refused_in_its_own_words() -> None:
    (refused,) = do(state(answer=None, server_error="starting up"))
    assert isinstance(refused, Sent)
    fact = "acme: its server is starting, stopping or in recovery: starting up"
    assert refused.refusal == f"{fact}\nHINT: wait a minute, and run it again; runbooks/server-is-starting.md"


def test_components_behind_are_taken_up_in_the_order_in_which_they_rest_on_each_other(worked_on: WorkedOn) -> None:
    behind = do(having(ALL_THREE, ledger=[]), ALL_THREE)
    assert worked_on(behind) == [("apply", component) for component in COMPONENTS]


def test_only_the_component_that_is_behind_is_touched(worked_on: WorkedOn) -> None:
    rows = [row for row in ledger(ALL_THREE) if row["component"] != "knowledge"]
    assert worked_on(do(having(ALL_THREE, ledger=rows), ALL_THREE)) == [("apply", "knowledge")]


def test_a_component_stays_at_the_version_that_the_inventory_names(worked_on: WorkedOn) -> None:
    bootstrapped = having(ledger=[row for row in ledger() if row["version"] == "0000"])
    assert do(bootstrapped, replace(ACME, components={"memory_plugin": 0})) == []
    assert worked_on(do(bootstrapped, replace(ACME, components={"memory_plugin": 1}))) == [("apply", "memory_plugin")]


def found_wrong(kind: str) -> TenantState:
    row = {"component": "memory_plugin", "version": "0001", "kind": kind, "object": "x", "problem": "is missing"}
    return having(findings=[row])


@pytest.mark.parametrize("kind", sorted(REPAIRABLE))
def test_what_holds_no_data_is_made_again(worked_on: WorkedOn, kind: str) -> None:
    assert worked_on(do(found_wrong(kind))) == [("repair", "memory_plugin")]


@pytest.mark.parametrize("kind", ["schema", "table", "column", "constraint", "type"])
def test_what_may_hold_data_is_left_to_the_operator(kind: str) -> None:
    assert do(found_wrong(kind)) == []


def test_rights_of_an_older_release_are_renewed_and_no_version_is_applied(worked_on: WorkedOn) -> None:
    """As where `rotate` finds a tenant that no `provision` of this release has seen."""
    older = [row for row in ledger(ALL_THREE) if (row["component"], row["version"]) != ("knowledge", "R2_grants")]
    assert worked_on(repairing(having(ALL_THREE, ledger=older), ALL_THREE)) == [("apply", "knowledge")]
    behind = [row for row in ledger(ALL_THREE) if (row["component"], row["version"]) != ("knowledge", "0001")]
    assert repairing(having(ALL_THREE, ledger=behind), ALL_THREE) == []


@pytest.mark.parametrize("kind", sorted(REPAIRABLE))
def test_what_holds_no_data_is_made_again_without_a_migration(worked_on: WorkedOn, kind: str) -> None:
    assert worked_on(repairing(found_wrong(kind))) == [("repair", "memory_plugin")]


HISTORY = {
    "an edited file": [{**ledger()[1], "template_sha256": "0" * 64, "rendered_sha256": "0" * 64}],
    "a version nobody knows": [{**ledger()[0], "version": "0099", "name": "from_tomorrow"}],
}


@pytest.mark.parametrize("what", HISTORY)
@pytest.mark.parametrize("mended", [False, True], ids=["still so", "mended meanwhile"])
def test_history_that_differs_from_the_files_stops_the_tenant_and_nothing_is_applied(
    worked_on: WorkedOn, monkeypatch: pytest.MonkeyPatch, what: str, mended: bool
) -> None:
    others = [row for row in ledger() if row["version"] not in {changed["version"] for changed in HISTORY[what]}]
    rows = [*others, *HISTORY[what]]
    # The refusal is said by the runner, which sees the ledger again, bodies included.
    monkeypatch.setattr(runner, "running", lambda *_: nullcontext())
    monkeypatch.setattr(heads, "heads", lambda *_: heads.heads_of(ledger() if mended else rows))
    with pytest.raises(Refused) as refused:
        worked_on(do(having(ledger=rows)))
    assert ("run the deploy again" if mended else HISTORY[what][0]["version"]) in str(refused.value)
    assert worked_on([]) == []


@pytest.mark.parametrize("what", HISTORY)
def test_a_repair_leaves_a_history_that_differs_to_the_check_of_the_ledger(what: str) -> None:
    others = [row for row in ledger() if row["version"] not in {changed["version"] for changed in HISTORY[what]}]
    assert repairing(having(ledger=[*others, *HISTORY[what]])) == []


@pytest.mark.parametrize("found", [None, state(**ABSENT), state(), state(answer=None, server_error="starting up")])
def test_a_repair_finds_nothing_to_do(found: TenantState | None) -> None:
    assert repairing(found) == []


NOBODY = Activity()


def told(failure: Exception | None, caplog: pytest.LogCaptureFixture, connected: Activity = NOBODY) -> tuple[bool, str]:
    def act() -> None:
        if failure is not None:
            raise failure

    with caplog.at_level(logging.ERROR, logger="pyinfra"):
        logging.getLogger("pyinfra").propagate = True
        done = problems.run_reporting_problems(FakeHost(), ACME, act, lambda: connected)
    return done, caplog.text


def test_work_that_was_done_is_done(caplog: pytest.LogCaptureFixture) -> None:
    assert told(None, caplog) == (True, "")


def test_a_refusal_is_the_tenants_failure_with_every_problem_by_name(caplog: pytest.LogCaptureFixture) -> None:
    done, said = told(Refused([Problem("one", "look"), Problem("two")]), caplog)
    assert done is False
    assert "acme: one\nHINT: look" in said
    assert "acme: two" in said


def test_a_server_that_refuses_is_the_tenants_failure_and_no_stack_trace(caplog: pytest.LogCaptureFixture) -> None:
    done, said = told(psycopg.OperationalError("column x is unknown\n"), caplog)
    assert done is False
    assert "acme: the server refused: column x is unknown\nHINT: " in said
    assert "Traceback" not in said


def test_who_holds_the_lock_that_a_migration_gave_up_on_is_named_by_the_superusers_eyes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    blocked = "memory_plugin: canceling statement due to lock timeout, 6 times; pid 170 memory_app_a (worker) holds …"
    for fact in (blocked, "memory_plugin is being migrated by pid 170 (worker), since None; waited 60 s"):
        done, said = told(Refused([Problem(fact, "wait")]), caplog, Activity.parse({"sessions": [SESSION]}))
        assert done is False
        assert f"acme: {fact}\nHINT: wait" in said
        assert f"acme: {WHO} holds AccessExclusiveLock on memory_plugin.memory_records" in said
        assert "HINT: runbooks/table-is-locked.md" in said


def test_nobody_is_asked_for_where_no_lock_was_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    _, said = told(Refused([Problem("one", "look")]), caplog, Activity.parse({"sessions": [SESSION]}))
    assert "pid 170" not in said


def test_a_server_without_a_connection_is_called_that_and_not_down(caplog: pytest.LogCaptureFixture) -> None:
    _, said = told(psycopg.OperationalError("FATAL:  sorry, too many clients already\n"), caplog)
    assert "acme: its server has no free connection: sorry, too many clients already\nHINT: runbooks/no-free" in said


def test_a_stopped_container_is_not_asked() -> None:
    down = state(container=container(status="exited", pid=0), answer=None, server_error="")
    (refused,) = do(down)
    assert isinstance(refused, Sent)
    assert refused.refusal.startswith("acme: its container is exited (exit code 0)\nHINT: ")
