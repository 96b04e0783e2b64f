"""A port is checked before anything of a tenant is created, on real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgberth import commands
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.port import port_free, refuse_owner, refuse_taken_port
from pgberth.container.state import TenantState
from pgberth.model import layout
from pgberth.model.listen import Listen
from pgberth.model.problems import Refused
from pgberth.model.tenant import Tenant
from tests.fake_host import Answer, FakeHost, Sent, on, sent
from tests.fake_podman import FakePrograms
from tests.sample import ABSENT, ACME, container, state

SCRIPT = commands.script("container/port.sh")
TENANTS = f"{layout.HOME}/tenants"


def asked(machine: FakePrograms, port: int) -> list[str]:
    done = machine.run(SCRIPT, str(port), TENANTS)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_whoever_listens_is_named(machine: FakePrograms, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    comm = Path("/proc/self/comm").read_text().strip()
    first, *others = asked(machine, port)
    assert first == f"by pid {os.getpid()} ({comm})"
    assert f"taken {port}" in others


@pytest.mark.parametrize(
    ("family", "address", "taken"),
    [
        (socket.AF_INET, "0.0.0.0", True),  # noqa: S104  (for the test)
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET, "127.0.0.2", False),
        (socket.AF_INET, "127.1.0.1", False),
    ],
)
def test_a_listener_takes_the_port_only_where_the_server_could_not_listen_beside_it(
    machine: FakePrograms, family: socket.AddressFamily, address: str, taken: bool
) -> None:
    with listening(family, address) as other:
        port = other.getsockname()[1]
        lines = asked(machine, port)
        assert bool([line for line in lines if line.startswith("by pid ")]) is taken
        assert (f"taken {port}" in lines) is taken
        with pytest.raises(OSError, match="in use") if taken else nullcontext():  # the kernel's own word
            socket.create_server(("127.0.0.1", port)).close()


@contextmanager
def listening(family: socket.AddressFamily, address: str) -> Iterator[socket.socket]:
    with socket.socket(family) as server:
        server.bind((address, 0))
        server.listen()
        yield server


def test_beyond_loopback_both_addresses_count(machine: FakePrograms) -> None:
    for address, taken in (("127.0.0.1", True), ("127.0.0.2", True), ("127.0.0.3", False)):
        with listening(socket.AF_INET, address) as server:
            done = machine.run(SCRIPT, str(server.getsockname()[1]), TENANTS, "127.0.0.2")
            assert ("by pid " in done.stdout) is taken


def test_nobody_is_named_where_nobody_listens(machine: FakePrograms, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert not [line for line in asked(machine, client.getsockname()[1]) if line.startswith("by ")]


def test_another_tenant_of_the_account_is_named_by_its_name(machine: FakePrograms, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    for tenant, its in (("globex", port), ("initech", 5999)):
        place = machine.home / TENANTS / tenant
        place.mkdir(parents=True)
        (place / "spec.json").write_text(f'{{\n  "generation": 1,\n  "port": {its},\n  "profile": "small"\n}}\n')
    first, *others = asked(machine, port)
    assert first == "by tenant globex of this account"
    assert {"taken 5999", f"taken {port}"} <= set(others)


def test_a_taken_port_is_refused_with_the_next_free_one() -> None:
    lines = ["by pid 7 (nginx)", "taken 5501", "taken 5502", "taken 5504", "taken "]
    with pytest.raises(Refused) as refused:
        refuse_owner("acme", 5501, lines, asked={5503})
    (problem,) = refused.value.problems
    assert problem.fact == "acme: port 127.0.0.1:5501 is taken by pid 7 (nginx)"
    assert problem.hint.startswith("nothing was done; ")
    assert "such as 5505, which is free: runbooks/port-already-taken.md" in problem.hint
    refuse_owner("acme", 5501, lines[1:])


def checked(found: TenantState | None, answer: Answer) -> tuple[list[Any], FakeHost]:
    host = FakeHost(facts={TenantObservation: lambda **_: found}, otherwise=answer)
    return sent(port_free, host, context=TenantContext(ACME, ports=frozenset({5501}))), host


TAKEN = Answer("by pid 7 (nginx)\ntaken 5501")
OPEN = replace(ACME, listen=Listen("192.0.2.7"))


def test_an_address_of_this_machine_is_known_from_one_that_is_not(machine: FakePrograms) -> None:
    def said(address: str) -> str:
        return machine.run(SCRIPT, "1", TENANTS, address).stdout

    assert said("192.0.2.7").splitlines()[0] == "nowhere"
    assert "nowhere" not in said("127.0.0.1")
    assert "nowhere" not in said("")


@pytest.mark.parametrize(("address", "named"), [("127.0.0.1", True), ("127.0.0.2", False), ("", False)])
def test_on_a_port_of_its_own_only_the_other_address_counts(
    machine: FakePrograms, listener: socket.socket, address: str, named: bool
) -> None:
    said = machine.run(SCRIPT, str(listener.getsockname()[1]), TENANTS, address, "there").stdout
    assert ("by " in said) is named


@pytest.mark.parametrize(
    ("tenant", "own", "printed", "says"),
    [
        (ACME, 0, "by pid 7 (nginx)", "acme: port 127.0.0.1:5501 is taken by pid 7 (nginx)"),
        (ACME, 5501, "taken 5501", ""),
        (OPEN, 5501, "nowhere\nby pid 7 (conmon)", "acme: its listen address 192.0.2.7 is not an address of @local"),
        (OPEN, 5501, "by pid 7 (stunnel4)", "acme: port 192.0.2.7:5501 is taken by pid 7 (stunnel4)"),
        (OPEN, 5501, "taken 5501", ""),
    ],
)
def test_a_port_or_address_that_the_server_cannot_have_is_refused(
    tenant: Tenant, own: int, printed: str, says: str
) -> None:
    facts: list[str] = []
    with on(FakeHost(otherwise=Answer(printed))):
        try:
            refuse_taken_port(tenant, (), own=own)
        except Refused as refused:
            facts += [problem.fact for problem in refused.problems]
    assert facts == ([says] if says else [])


@pytest.mark.parametrize("found", [state(ACME, **ABSENT), state(ACME, container=container(ACME, status="exited"))])
def test_a_tenant_that_does_not_run_is_refused_where_its_port_is_taken(found: TenantState) -> None:
    (refused,), _ = checked(found, TAKEN)
    assert isinstance(refused, Sent)
    assert refused.refusal.startswith("acme: port 127.0.0.1:5501 is taken by pid 7 (nginx)\nHINT: ")
    assert checked(found, Answer("taken 5502"))[0] == []


@pytest.mark.parametrize("found", [state(ACME), replace(state(ACME), machine_profile=None), None])
def test_a_tenant_that_runs_or_that_nothing_is_known_of_is_not_asked_about(found: TenantState | None) -> None:
    commands_sent, host = checked(found, TAKEN)
    assert commands_sent == host.asked == []
