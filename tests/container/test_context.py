"""A tenant during one run: looked at once, and again where a change leaves something open; secrets never printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from pyinfra.context import ctx_host, ctx_state

from pgberth.container.facts import Berth, ServerLook, TenantLook
from pgberth.container.state import TenantState
from pgberth.model import layout
from tests.fake_host import CANARY, Answer, FakeHost, as_sent, password_in, sent, stored
from tests.sample import ABSENT, ACME, IMAGE, container, server, spec_file, state


class Looks:
    """Counts the looks, and gives one state after another; the last stays."""

    def __init__(self, *states: TenantState | None):
        self.states = list(states)
        self.arguments: list[dict[str, Any]] = []

    def __call__(self, **arguments: Any) -> TenantState | None:
        self.arguments.append(arguments)
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def during_a_run(
    work: Callable[[Berth], Any], *states: TenantState | None, also: dict[type, Any] | None = None, **host: Any
) -> tuple[Looks, FakeHost]:
    looks = Looks(*states)
    here = FakeHost(facts={TenantLook: looks, **(also or {})}, **host)

    def operation(berth: Berth) -> Iterator[Any]:
        work(berth)
        yield from ()

    operation._inner = operation  # type: ignore[attr-defined]
    sent(operation, here, berth=Berth(ACME, "SELECT 1"))
    return looks, here


def test_a_tenant_is_looked_at_once_however_often_it_is_asked_about() -> None:
    looks, _ = during_a_run(lambda berth: [berth.look() for _ in range(5)], state())
    assert len(looks.arguments) == 1


def test_a_look_asks_the_servers_probe_on_stdin() -> None:
    looks, _ = during_a_run(lambda berth: berth.look(), state())
    (asked,) = looks.arguments
    assert asked["tenant"] == "acme"
    assert asked["_stdin"].read() == "SELECT 1"
    assert asked["_ignore_errors"] is False


def test_a_tenant_is_looked_at_again_after_each_change() -> None:
    def work(berth: Berth) -> None:
        assert berth.look() == state(**ABSENT)
        berth.change("true")
        assert berth.look() == state()
        berth.superuser("SELECT 1;")
        berth.look()
        berth.forget()
        berth.look()

    looks, _ = during_a_run(work, state(**ABSENT), state())
    assert len(looks.arguments) == 4


def answered(*lines: str) -> Looks:
    return Looks(list(lines))  # type: ignore[arg-type]


def test_after_a_change_in_the_database_only_the_server_is_asked_again() -> None:
    answers, seen = answered(json.dumps(server(vector="0.8.5"))), []

    def work(berth: Berth) -> None:
        berth.look()
        berth.superuser("SELECT 1;")
        seen.append(berth.look())
        berth.forget_server()
        berth.forget_server()
        seen.append(berth.look())

    looks, _ = during_a_run(work, state(), also={ServerLook: answers})
    assert len(looks.arguments) == 1
    assert seen == [state(server=server(vector="0.8.5"))] * 2
    assert [(told["pid"], told["bindir"]) for told in answers.arguments] == [(container().pid, IMAGE.bindir)] * 2
    assert answers.arguments[0]["_stdin"].read() == "SELECT 1"


@pytest.mark.parametrize("said", [[], ["psql: error: FATAL:  the database system is shutting down"], ["{not json"]])
def test_a_server_that_does_not_answer_again_is_looked_at_whole(said: list[str]) -> None:
    down = state(container=container(status="exited", pid=0), server=None)

    def work(berth: Berth) -> None:
        berth.look()
        berth.forget_server()
        assert berth.look() == down

    looks, _ = during_a_run(work, state(), down, also={ServerLook: answered(*said)})
    assert len(looks.arguments) == 2


def test_any_other_change_makes_the_whole_tenant_looked_at_though_the_database_changed_too() -> None:
    def work(berth: Berth) -> None:
        berth.look()
        berth.superuser("SELECT 1;")
        berth.change("podman rm acme")
        berth.look()

    looks, _ = during_a_run(work, state(), also={ServerLook: answered(json.dumps(server()))})
    assert len(looks.arguments) == 2


def test_what_a_change_certainly_leaves_behind_is_not_looked_at_again() -> None:
    def work(berth: Berth) -> None:
        seen = berth.look()
        assert seen is not None
        berth.change("true", after=replace(seen, secrets=frozenset({"app-v1"})))
        berth.write(layout.spec_file("acme"), json.dumps(spec_file()))
        berth.write(f"{layout.etc('acme')}/guard.sh", "exit 1\n", "0700")
        now = berth.look()
        assert now is not None
        assert now.spec == spec_file()
        assert now.secrets == frozenset({"app-v1"})
        assert now.files["etc/guard.sh"] == sha256(b"exit 1\n").hexdigest()
        assert now.modes["etc/guard.sh"] == "700"
        same = {name: getattr(seen, name) for name in ("spec", "files", "modes", "secrets")}
        assert replace(now, **same) == seen
        assert berth.changed

    looks, _ = during_a_run(work, state(**ABSENT))
    assert len(looks.arguments) == 1


def test_a_file_that_a_server_may_read_changes_more_than_itself() -> None:
    looks, _ = during_a_run(
        lambda berth: (berth.look(), berth.write(f"{layout.etc('acme')}/pg_hba.conf", "host all\n"), berth.look()),
        state(),
    )
    assert len(looks.arguments) == 2


def test_a_file_written_before_anything_was_seen_tells_nothing_of_the_rest() -> None:
    looks, _ = during_a_run(lambda berth: (berth.write(layout.spec_file("acme"), "{}"), berth.look()), state())
    assert len(looks.arguments) == 1


def test_what_was_seen_while_changes_were_detected_is_not_believed_when_they_are_made() -> None:
    looks = Looks(state(**ABSENT), state())
    here = FakeHost(facts={TenantLook: looks})
    berth = Berth(ACME, "")
    seen: list[Any] = []

    def look(berth: Berth) -> Iterator[Any]:
        seen.append(berth.look())
        yield from ()

    look._inner = look  # type: ignore[attr-defined]
    sent(look, here, executing=False, berth=berth)
    sent(look, here, executing=True, berth=berth)
    assert seen == [state(**ABSENT), state()]
    assert [asked["_ignore_errors"] for asked in looks.arguments] == [True, False]


def test_a_tenant_that_could_not_be_asked_is_asked_again() -> None:
    looks, _ = during_a_run(lambda berth: (berth.look(), berth.look()), None)
    assert len(looks.arguments) == 2


def test_only_a_change_makes_a_tenant_changed() -> None:
    berth = Berth(ACME, "")
    assert berth.changed is False
    berth.write("path", "text")
    assert berth.changed is True
    assert repr(berth) == "Berth(acme)"  # pyinfra prints the arguments of operations


def test_the_port_is_the_one_that_is_listened_at() -> None:
    ports: list[int] = []
    during_a_run(lambda berth: ports.append(berth.port), state(spec={**spec_file(), "port": 5599}))
    during_a_run(lambda berth: ports.append(berth.port), state(**ABSENT))
    during_a_run(lambda berth: ports.append(berth.port), None)
    assert ports == [5599, 5501, 5501]


def test_secrets_are_read_once_and_by_the_name_the_spec_file_gives() -> None:
    names = {**spec_file()["secrets"], "app": "app-v8"}
    found: list[Any] = []
    _, here = during_a_run(
        lambda berth: found.extend(berth.secret(kind) for kind in names),
        state(spec={**spec_file(), "secrets": names}),
        answers=[stored([*names.values(), "app-v1"])],
    )
    assert found == [password_in(name) for name in names.values()]
    assert len(here.asked) == 1
    assert CANARY not in here.asked[0].text


def test_a_secret_that_is_not_there_is_none() -> None:
    found: list[Any] = []
    during_a_run(
        lambda berth: found.extend((berth.secret("app"), berth.secret("nosuch"))),
        state(),
        answers=[stored(["migrator-v1"])],
    )
    during_a_run(lambda berth: found.append(berth.secret("app")), None, answers=[("name in", Answer(done=False))])
    assert found == [None, None, None]


def test_the_superusers_script_goes_in_on_stdin_through_the_containers_own_psql() -> None:
    scripts: list[Any] = []
    during_a_run(lambda berth: scripts.append(as_sent(berth.superuser("SELECT 1;"))), state())
    (script,) = scripts
    assert script.locked
    assert script.stdin == "SELECT 1;"
    assert script.arguments == ["acme", str(container().pid), IMAGE.bindir, "postgres"]


def test_no_context_is_left_behind() -> None:
    during_a_run(lambda berth: berth.look(), state())
    assert ctx_host.get() is None
    assert ctx_state.get() is None
