"""The memory plugin's part of a recycle: what would be brought back is known before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.plugin_launch import PluginLaunch
from pgberth.container.plugin_state import PluginObservation, PluginState
from pgberth.container.state import TenantState
from pgberth.model import layout
from pgberth.model.tenant import Tenant
from pgberth.rollout.plugin_swap import PluginSwap
from tests.container.test_sidecar import HEALTHY, NONE, PLUGGED, UNREAD_MARK, URL_PLACE, current, spec
from tests.fake_host import Answer, FakeHost, Sent, sent, stored
from tests.sample import ACME, spec_file, state

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


def told(step: Callable[[PluginSwap], Commands], swap: PluginSwap, found: PluginState | None, seen: TenantState) -> Any:
    """What a step of the swap sends where this is seen of the plugin and of the tenant."""

    @guarded_operation()
    def stepped(context: TenantContext) -> Any:
        yield from step(swap)

    facts: dict[type, Any] = {TenantObservation: lambda **_: seen, PluginObservation: lambda **_: found}
    return sent(stepped, FakeHost(facts, [stored(state().secrets)]), context=swap.context)


PREVIOUS = PluginLaunch.desired(spec(limits=True))


def swap_of(previous: PluginLaunch | None, tenant: Tenant = PLUGGED, *, needed: bool = False) -> PluginSwap:
    return PluginSwap(TenantContext(tenant, "SELECT 1"), previous, needed=needed)


@pytest.mark.parametrize("found", [None, NONE, HEALTHY], ids=["not observed", "absent", "another"])
def test_the_previous_plugin_is_started_again_whatever_can_be_seen_now(found: PluginState | None) -> None:
    written, start = told(PluginSwap.back, swap_of(PREVIOUS, needed=True), found, current())
    assert json.loads(written.files[layout.spec_file("acme")][0])["sidecar"] == PREVIOUS.spec
    assert "podman rm --force" in start.script
    assert start.arguments[11:] == list(PREVIOUS.arguments)


def test_the_previous_plugin_that_still_runs_is_left_alone_unless_its_url_is_another_now() -> None:
    still = replace(HEALTHY, spec_hash=PREVIOUS.spec["hash"])
    (written,) = told(PluginSwap.back, swap_of(PREVIOUS), still, current())
    assert (URL_PLACE in written.files, UNREAD_MARK in written.files) == (True, False)
    written, *_, reload = told(PluginSwap.back, swap_of(PREVIOUS), still, state())
    assert list(written.files)[:2] == [UNREAD_MARK, URL_PLACE]
    assert "podman kill --signal HUP" in reload.script
    assert reload.arguments[2] == str(PREVIOUS.spec["port"])


def test_the_new_plugin_goes_where_none_ran_before() -> None:
    seen = current(spec={**spec_file(), "sidecar": {"hash": spec().hash}})
    remove, *_ = told(PluginSwap.back, swap_of(None, needed=True), HEALTHY, seen)
    assert remove.script == commands.script("container/remove-sidecar.sh")


def test_what_an_earlier_release_stored_stays_until_nothing_goes_back_any_more() -> None:
    former = commands.script("container/former-secrets.sh")
    for step in (PluginSwap.advance, PluginSwap.back):
        scripts = [command.script for command in told(step, swap_of(PREVIOUS), NONE, current())]
        assert commands.script("container/start-sidecar.sh") in "".join(scripts)
        assert former not in scripts
    for previous in (PREVIOUS, None):
        (removal,) = told(PluginSwap.over, swap_of(previous), HEALTHY, current())
        assert (removal.script, removal.arguments) == (former, ["pgberth_acme_"])
    assert told(PluginSwap.over, swap_of(None, ACME), None, state()) == []
