"""The way in: a session sends the password it was given and none other, over the way pyinfra already has."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import psycopg
import pytest
from pyinfra.connectors.ssh import SSHConnector

from pgberth.connectors.tunnel import loopback
from pgberth.database.session import connect, reached, within
from pgberth.model.secret import Secret
from tests.fake_host import FakeHost, sent
from tests.postgres import Server


@pytest.fixture
def address(postgres18: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, int]:
    """The server, with its password lying wherever libpq looks for one."""
    passfile = tmp_path / "passfile"
    passfile.write_text(f"*:*:*:*:{postgres18.password}\n")
    passfile.chmod(0o600)
    (tmp_path / ".pgpass").write_bytes(passfile.read_bytes())
    (tmp_path / ".pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    monkeypatch.setenv("PGPASSWORD", postgres18.password)
    monkeypatch.setenv("HOME", str(tmp_path))
    return "127.0.0.1", postgres18.port


def test_the_password_given_lets_its_role_in(address: tuple[str, int], postgres18: Server) -> None:
    with connect(address, "memory_app_a", Secret(postgres18.password), database="postgres") as session:
        assert session.execute("SELECT current_user").fetchone() == ("memory_app_a",)
        assert session.autocommit
        assert session.info.parameter_status("application_name") == "pgberth"


def test_a_session_without_a_password_sends_none_wherever_one_may_lie(address: tuple[str, int]) -> None:
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        connect(address, "memory_app_a", None, database="postgres")


def test_a_wrong_password_is_sent_and_refused_wherever_the_right_one_may_lie(address: tuple[str, int]) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(address, "memory_app_a", Secret("wrong"), database="postgres")


def test_a_refusal_does_not_show_the_password(address: tuple[str, int]) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        connect(address, "memory_app_a", Secret("hunter2-hunter2"), database="postgres")
    assert "hunter2" not in str(refused.value)


def test_the_options_of_a_component_set_its_search_path(address: tuple[str, int], postgres18: Server) -> None:
    options = "-csearch_path=knowledge,public"
    password = Secret(postgres18.password)
    with connect(address, "memory_app_a", password, database="postgres", options=options) as session:
        assert session.execute("SHOW search_path").fetchone() == ("knowledge,public",)


def test_here_the_way_is_the_port_itself() -> None:
    with loopback(FakeHost(), 5501) as address:
        assert address == ("127.0.0.1", 5501)


def test_the_way_to_the_current_host_is_the_same() -> None:
    found: list[tuple[str, int]] = []

    def look() -> Iterator[None]:
        with reached(5501) as address:
            found.append(address)
        yield from ()

    look._inner = look  # type: ignore[attr-defined]
    sent(look, FakeHost())
    assert found == [("127.0.0.1", 5501)]


class Way:
    """
    Stands in for a connector: a channel is one end of a pair of sockets, whose far end answers in upper case.

    The sockets are gevent's, as paramiko's are under pyinfra, which patches the standard library.
    """

    def __init__(self) -> None:
        self.dialled: list[int] = []

    def dial(self, port: int, peer: tuple[str, int]) -> Any:
        assert peer[0] == "127.0.0.1"
        self.dialled.append(port)
        if port == NOBODY_LISTENS:
            raise ConnectionError("nobody listens")
        near, far = gevent.socket.socketpair()
        gevent.spawn(self._answer, far)
        return near

    @staticmethod
    def _answer(far: Any) -> None:
        with far:
            while data := far.recv(1000):
                far.sendall(data.upper())


NOBODY_LISTENS = 1


def over_ssh(way: Way) -> Any:
    connector: Any = object.__new__(SSHConnector)
    connector.dial = way.dial
    return SimpleNamespace(name="acme", connector=connector)


def talk(address: tuple[str, int], said: bytes) -> bytes:
    """Say it, hang up this direction, and hear everything that comes back."""
    with socket.create_connection(address, timeout=5) as line:
        line.sendall(said)
        line.shutdown(socket.SHUT_WR)
        heard = b""
        while data := line.recv(1000):
            heard += data
        return heard


def in_a_thread(work: Any) -> Any:
    """A client outside gevent's loop, while the loop goes on."""
    pool = gevent.get_hub().threadpool
    return pool.spawn(work).get(timeout=10)


def test_over_ssh_the_way_leads_through_the_connections_that_the_machine_s_hosts_share() -> None:
    way = Way()
    with loopback(over_ssh(way), 5501) as address:
        assert address[0] == "127.0.0.1"
        assert address[1] != 5501
        assert in_a_thread(lambda: talk(address, b"select" * 50_000)) == b"SELECT" * 50_000
        assert in_a_thread(lambda: talk(address, b"again")) == b"AGAIN"
    assert way.dialled == [5501, 5501]


def test_the_way_over_ssh_is_closed_afterwards() -> None:
    with loopback(over_ssh(Way()), 5501) as address:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=1)


def test_who_connects_where_nobody_listens_is_hung_up_on() -> None:
    with loopback(over_ssh(Way()), NOBODY_LISTENS) as address:
        assert in_a_thread(lambda: hung_up_on(address))


def hung_up_on(address: tuple[str, int]) -> bool:
    with socket.create_connection(address, timeout=5) as line:
        return line.recv(10) == b""


def test_a_session_that_is_opened_after_time_was_up_is_hung_up_too(postgres18: Server) -> None:
    opened: list[psycopg.Connection[Any]] = []
    with within(0.05, lambda: opened) as over:
        time.sleep(0.3)
        assert over()
        opened.append(postgres18.connect())
        with pytest.raises(psycopg.OperationalError):
            opened[0].execute("SELECT pg_sleep(30)")
    assert opened[0].closed


def test_work_that_ends_in_time_keeps_its_sessions(postgres18: Server) -> None:
    with postgres18.connect() as session:
        with within(60, lambda: [session]) as over:
            session.execute("SELECT 1")
        assert not over()
        assert session.execute("SELECT 1").fetchone() == (1,)
