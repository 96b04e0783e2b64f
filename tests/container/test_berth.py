"""A tenant during one run: looked at once, and again after each change; secrets read past what is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyinfra.context import ctx_host, ctx_state

from pgberth.container.facts import Berth, TenantLook
from pgberth.container.state import TenantState
from tests.fake_host import CANARY, Answer, FakeHost, as_sent, password_in, sent, stored
from tests.sample import ABSENT, ACME, IMAGE, spec_file, state


class Looks:
    """Counts the looks, and gives one state after another; the last stays."""

    def __init__(self, *states: TenantState | None):
        self.states = list(states)
        self.arguments: list[dict[str, Any]] = []

    def __call__(self, **arguments: Any) -> TenantState | None:
        self.arguments.append(arguments)
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def during_a_run(work: Callable[[Berth], Any], *states: TenantState | None, **host: Any) -> tuple[Looks, FakeHost]:
    looks = Looks(*states)
    here = FakeHost(facts={TenantLook: looks}, **host)

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
        berth.write("path", "text")
        assert berth.look() == state()
        berth.change("true")
        berth.look()
        berth.superuser("SELECT 1;")
        berth.look()

    looks, _ = during_a_run(work, state(**ABSENT), state())
    assert len(looks.arguments) == 4


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
    assert script.arguments == ["acme", IMAGE.bindir]


def test_no_context_is_left_behind() -> None:
    during_a_run(lambda berth: berth.look(), state())
    assert ctx_host.get() is None
    assert ctx_state.get() is None
