"""A tenant during one run: observed once, and again where a change leaves something open; secrets never printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from pyinfra.context import ctx_host, ctx_state

from pgberth.container.activity import ServerObservation, activity_now
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.model import layout
from pgberth.model.sessions import Activity, Slots
from tests.fake_host import CANARY, Answer, FakeHost, as_sent, on, password_in, sent, stored
from tests.sample import ABSENT, ACME, IMAGE, container, server, spec_file, state


class Observations:
    """Counts the observations, and gives one state after another; the last stays."""

    def __init__(self, *states: TenantState | None):
        self.states = list(states)
        self.arguments: list[dict[str, Any]] = []

    def __call__(self, **arguments: Any) -> TenantState | None:
        self.arguments.append(arguments)
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def during_a_run(
    work: Callable[[TenantContext], Any], *states: TenantState | None, also: dict[type, Any] | None = None, **host: Any
) -> tuple[Observations, FakeHost]:
    observations = Observations(*states)
    here = FakeHost(facts={TenantObservation: observations, **(also or {})}, **host)

    def operation(context: TenantContext) -> Iterator[Any]:
        work(context)
        yield from ()

    operation._inner = operation  # type: ignore[attr-defined]
    sent(operation, here, context=TenantContext(ACME, "SELECT 1"))
    return observations, here


def test_a_tenant_is_observed_once_however_often_it_is_asked_about() -> None:
    observations, _ = during_a_run(lambda context: [context.observe() for _ in range(5)], state())
    assert len(observations.arguments) == 1


def test_an_observation_asks_the_servers_probe_on_stdin() -> None:
    observations, _ = during_a_run(lambda context: context.observe(), state())
    (asked,) = observations.arguments
    assert asked["tenant"] == "acme"
    assert asked["_stdin"].read() == "SELECT 1"
    assert asked["_ignore_errors"] is False


def test_a_tenant_is_observed_again_after_each_change() -> None:
    def work(context: TenantContext) -> None:
        assert context.observe() == state(**ABSENT)
        context.change("true")
        assert context.observe() == state()
        context.superuser("SELECT 1;")
        context.observe()
        context.invalidate()
        context.observe()

    observations, _ = during_a_run(work, state(**ABSENT), state())
    assert len(observations.arguments) == 4


def answered(*lines: str) -> Observations:
    return Observations(list(lines))  # type: ignore[arg-type]


def test_after_a_change_in_the_database_only_the_server_is_asked_again() -> None:
    answers, seen = answered(json.dumps(server(vector="0.8.5"))), []

    def work(context: TenantContext) -> None:
        context.observe()
        context.superuser("SELECT 1;")
        seen.append(context.observe())
        context.invalidate_server()
        context.invalidate_server()
        seen.append(context.observe())

    observations, _ = during_a_run(work, state(), also={ServerObservation: answers})
    assert len(observations.arguments) == 1
    assert seen == [state(answer=server(vector="0.8.5"))] * 2
    assert [(asked["pid"], asked["bindir"]) for asked in answers.arguments] == [(container().pid, IMAGE.bindir)] * 2
    assert answers.arguments[0]["_stdin"].read() == "SELECT 1"


@pytest.mark.parametrize("said", [[], ["psql: error: FATAL:  the database system is shutting down"], ["{not json"]])
def test_a_server_that_does_not_answer_again_is_observed_whole(said: list[str]) -> None:
    down = state(container=container(status="exited", pid=0), answer=None)

    def work(context: TenantContext) -> None:
        context.observe()
        context.invalidate_server()
        assert context.observe() == down

    observations, _ = during_a_run(work, state(), down, also={ServerObservation: answered(*said)})
    assert len(observations.arguments) == 2


def test_after_any_other_change_the_whole_tenant_is_observed_though_the_database_changed_too() -> None:
    def work(context: TenantContext) -> None:
        context.observe()
        context.superuser("SELECT 1;")
        context.change("podman rm acme")
        context.observe()

    observations, _ = during_a_run(work, state(), also={ServerObservation: answered(json.dumps(server()))})
    assert len(observations.arguments) == 2


def test_what_a_change_certainly_leaves_behind_is_not_observed_again() -> None:
    def work(context: TenantContext) -> None:
        seen = context.observe()
        context.change("true", after=replace(seen, secrets=frozenset({"app-v1"})))
        context.write(layout.spec_file("acme"), json.dumps(spec_file()))
        context.write(f"{layout.etc('acme')}/guard.sh", "exit 1\n", "0700")
        now = context.observe()
        assert now.spec.body == spec_file()
        assert now.secrets == frozenset({"app-v1"})
        assert now.files["etc/guard.sh"] == sha256(b"exit 1\n").hexdigest()
        assert now.modes["etc/guard.sh"] == "700"
        same = {name: getattr(seen, name) for name in ("spec", "files", "modes", "secrets")}
        assert replace(now, **same) == seen
        assert context.changed

    observations, _ = during_a_run(work, state(**ABSENT))
    assert len(observations.arguments) == 1


def test_a_file_that_a_server_may_read_changes_more_than_itself() -> None:
    observations, _ = during_a_run(
        lambda context: (
            context.observe(),
            context.write(f"{layout.etc('acme')}/pg_hba.conf", "host all\n"),
            context.observe(),
        ),
        state(),
    )
    assert len(observations.arguments) == 2


def test_a_file_written_before_any_observation_shows_nothing_of_the_rest() -> None:
    observations, _ = during_a_run(
        lambda context: (context.write(layout.spec_file("acme"), "{}"), context.observe()), state()
    )
    assert len(observations.arguments) == 1


def test_what_was_observed_while_changes_were_detected_is_not_used_when_they_are_made() -> None:
    observations = Observations(state(**ABSENT), state())
    here = FakeHost(facts={TenantObservation: observations})
    context = TenantContext(ACME)
    seen: list[Any] = []

    def observe(context: TenantContext) -> Iterator[Any]:
        seen.append(context.observe())
        yield from ()

    observe._inner = observe  # type: ignore[attr-defined]
    sent(observe, here, executing=False, context=context)
    sent(observe, here, executing=True, context=context)
    assert seen == [state(**ABSENT), state()]
    assert [asked["_ignore_errors"] for asked in observations.arguments] == [True, False]


def test_a_tenant_that_could_not_be_asked_is_asked_again() -> None:
    seen: list[TenantState] = []
    observations, _ = during_a_run(lambda context: seen.extend((context.observe(), context.observe())), None)
    assert len(observations.arguments) == 2
    assert seen == [TenantState(None)] * 2
    assert not seen[0].ready


def test_only_a_change_makes_a_tenant_changed() -> None:
    context = TenantContext(ACME)
    assert context.changed is False
    context.write("path", "text")
    assert context.changed is True
    assert repr(context) == "TenantContext(acme)"  # pyinfra prints the arguments of operations


def test_the_port_is_the_one_on_which_the_server_listens() -> None:
    ports: list[int] = []
    during_a_run(lambda context: ports.append(context.port), state(spec={**spec_file(), "port": 5599}))
    during_a_run(lambda context: ports.append(context.port), state(**ABSENT))
    during_a_run(lambda context: ports.append(context.port), None)
    assert ports == [5599, 5501, 5501]


def test_secrets_are_read_once_and_by_the_name_the_spec_file_gives() -> None:
    names = {**spec_file()["secrets"], "app": "app-v8"}
    found: list[Any] = []
    _, here = during_a_run(
        lambda context: found.extend(context.secret(kind) for kind in names),
        state(spec={**spec_file(), "secrets": names}),
        answers=[stored([*names.values(), "app-v1"])],
    )
    assert found == [password_in(name) for name in names.values()]
    assert len(here.asked) == 1
    assert CANARY not in here.asked[0].text


def test_a_secret_that_is_not_there_is_none() -> None:
    found: list[Any] = []
    during_a_run(
        lambda context: found.extend((context.secret("app"), context.secret("nosuch"))),
        state(),
        answers=[stored(["migrator-v1"])],
    )
    during_a_run(lambda context: found.append(context.secret("app")), None, answers=[("name in", Answer(done=False))])
    assert found == [None, None, None]


def test_the_superusers_script_goes_in_on_stdin_through_the_containers_own_psql() -> None:
    scripts: list[Any] = []
    during_a_run(lambda context: scripts.append(as_sent(context.superuser("SELECT 1;"))), state())
    (script,) = scripts
    assert script.under_command_lock
    assert script.stdin == "SELECT 1;"
    assert script.arguments == ["acme", str(container().pid), IMAGE.bindir, "postgres"]


def test_no_context_is_left_behind() -> None:
    during_a_run(lambda context: context.observe(), state())
    assert ctx_host.get() is None
    assert ctx_state.get() is None


def test_who_is_connected_is_read_beside_podmans_warnings() -> None:
    slots = Slots("the server", "", 3, 40)
    said = ["WARN[0000] x", json.dumps({"sessions": [], "slots": [vars(slots)]}), "level=warning"]
    with on(FakeHost({ServerObservation: lambda **_: said})):
        assert activity_now("acme", container()) == Activity((), (slots,))
