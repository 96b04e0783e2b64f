"""A recycle that cannot begin: what it prints, what its receipt says, and that no tenant is begun after it."""

from __future__ import annotations

import json

import pytest

from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.model import layout
from pgberth.report.receipt import Receipt, Result
from pgberth.report.table import checks
from pgberth.rollout import attempt, judgement, recycle
from pgberth.rollout.recycle import FirstRed, RecycleOptions
from pgberth.run import current_run
from tests.fake_host import Answer, FakeHost, Sent, sent
from tests.sample import ACME, container, spec_of, state

OPTIONS = RecycleOptions("a test", pending=False, at_once=1)
KEPT = "tail -n +51"  # of the script that keeps a receipt


def do(
    monkeypatch: pytest.MonkeyPatch,
    found: TenantState,
    results: tuple[Result, ...] = (),
    options: RecycleOptions = OPTIONS,
) -> tuple[list[Sent], Receipt, list[Sent]]:
    """What the operation yields, the tenant's receipt, and what was sent at once."""
    context = TenantContext(ACME, receipt=Receipt("recycle", "acme", ("canary",), 5501))
    monkeypatch.setattr(judgement, "judge", lambda context: setattr(context.receipt, "results", results))
    monkeypatch.setattr(attempt, "repair", lambda _: None)
    host = FakeHost(
        facts={TenantObservation: lambda **_: found}, answers=[("podman image exists", Answer()), (KEPT, Answer())]
    )
    yielded = sent(recycle.recycled, host, context=context, options=options, turn=True)
    return yielded, context.receipt, host.asked


def test_a_tenant_whose_container_cannot_be_brought_back_is_not_interrupted_and_is_the_last_one_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (refused,), _, asked = do(monkeypatch, state())
    assert refused.refusal.startswith("acme: its container's definition cannot be read: ")
    assert current_run().part(FirstRed).tenant == "acme"
    (kept,) = [command for command in asked if command.under_command_lock]
    assert kept.arguments[0] == layout.receipts("acme")
    assert json.loads(kept.stdin)["did"] == {"reason": "a test", "former": spec_of().hash, "wanted": spec_of().hash}
    begun, receipt, _ = do(monkeypatch, state())
    assert (begun, receipt.state) == ([], "not begun: acme is red")


def test_a_tenant_that_is_red_in_what_a_swap_can_cause_is_not_interrupted_and_the_table_counts_its_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = Result("ready", (), 0.1), Result("memory-index", ("it serves nothing",), 0.1)
    (refused,), receipt, asked = do(monkeypatch, state(), results)
    assert refused.refusal.startswith("acme: memory-index: it serves nothing\nHINT: nothing was done; ")
    assert checks(receipt, failed=True) == "1 of 2 RED"
    assert current_run().part(FirstRed).tenant == "acme"
    assert [command.arguments[0] for command in asked if command.under_command_lock] == [layout.receipts("acme")]


def test_a_tenant_that_must_not_be_interrupted_is_refused_and_the_others_are_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (refused,), receipt, asked = do(monkeypatch, state(container=container(unreachable="its monitor, conmon, is dead")))
    assert refused.refusal.startswith("acme: its container runs, and nobody can reach port 5501: ")
    assert receipt.state == "refused"
    assert current_run().part(FirstRed).tenant == ""
    assert asked == []


def test_where_nothing_is_pending_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    yielded, receipt, asked = do(monkeypatch, state(), options=RecycleOptions("", pending=True, at_once=1))
    assert (yielded, receipt.state) == ([], "nothing is pending")
    assert [command for command in asked if command.under_command_lock] == []
