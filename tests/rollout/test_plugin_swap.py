"""The memory plugin's part of a recycle: what would be brought back is known before anything is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgberth.commands import guarded_operation
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.plugin_launch import PluginLaunch
from pgberth.container.plugin_state import PluginObservation, PluginState
from pgberth.rollout.plugin_swap import PluginSwap
from tests.container.test_sidecar import HEALTHY, NONE, PLUGGED, current, spec
from tests.fake_host import Answer, FakeHost, Sent, sent, stored
from tests.sample import state

RUNS = replace(HEALTHY, arguments=("--detach", "x"), runs="sha256:cd", command=("/plugin",))


def before(found: PluginState, read: Answer) -> tuple[list[Sent], list[PluginSwap]]:
    made = []

    @guarded_operation()
    def looked(context: TenantContext) -> Any:
        yield from ()
        made.append(PluginSwap.before(context))

    facts: dict[type, Any] = {TenantObservation: lambda **_: current(), PluginObservation: lambda **_: found}
    host = FakeHost(facts, [stored(state().secrets), ("base64 -w 0", read)])
    return sent(looked, host, context=TenantContext(PLUGGED, "SELECT 1")), made


@pytest.mark.parametrize(
    ("found", "read"),
    [(RUNS, Answer(done=False)), (replace(RUNS, arguments=()), Answer("")), (replace(RUNS, port=0), Answer(""))],
    ids=["its files", "its command", "its port"],
)
def test_one_that_runs_and_cannot_be_read_is_not_taken_for_absent(found: PluginState, read: Answer) -> None:
    (refused,), made = before(found, read)
    assert refused.refusal.startswith(
        "acme: its memory plugin runs, and what it was started from cannot be read\nHINT: "
    )
    assert not made


def test_what_runs_is_brought_back_on_the_port_that_it_had_and_one_that_does_not_run_is_not() -> None:
    _, [swap] = before(replace(RUNS, port=5999), Answer(""))
    assert swap.previous is not None
    assert swap.previous.spec["port"] == 5999
    _, [swap] = before(NONE, Answer(""))
    assert swap.previous is None


@pytest.mark.parametrize(("word", "removed"), [("--secret=pgberth_acme_old", 1), ("--detach", 0)])
def test_what_only_an_earlier_releases_plugin_needs_goes_once_nothing_goes_back(word: str, removed: int) -> None:
    previous = replace(PluginLaunch.desired(spec()), arguments=(word,))

    @guarded_operation()
    def over(context: TenantContext) -> Any:
        yield from PluginSwap(context, previous).over()

    commands = sent(over, FakeHost({TenantObservation: lambda **_: current()}), context=TenantContext(PLUGGED, ""))
    assert ["podman secret rm" in command.script for command in commands] == [True] * removed
