"""The way to a machine: few connections for many commands, and a loss that is noticed and named."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from paramiko import AuthenticationException, BadHostKeyException, Channel, ChannelException, RSAKey, SSHException
from paramiko.ssh_exception import NoValidConnectionsError

from pgberth.connectors.ssh_pool import Login, SshPool, Unreachable

ADA = Login("db1", "10.0.0.1", 22, "ada")


class Transport:
    """+ allows: how many sessions at once the sshd wants"""

    def __init__(self, allows: int = 10, prohibited: bool = False):
        self.allows, self.prohibited = allows, prohibited
        self.open: list[Any] = []
        self.active = True
        self.sock: object = None
        self.keepalive = 0

    def open_session(self, **_: Any) -> Any:
        self.open = [channel for channel in self.open if not channel.closed]
        if not self.active or len(self.open) >= self.allows:
            raise SSHException("refused")
        self.open.append(SimpleNamespace(closed=False))
        return self.open[-1]

    def open_channel(self, kind: str, destination: tuple[str, int], *_: Any, **__: Any) -> str:
        if self.prohibited:
            raise ChannelException(1, "Administratively prohibited")
        if destination[1] == 1:
            raise ChannelException(2, "Connect failed")
        return kind

    def is_active(self) -> bool:
        return self.active

    def set_keepalive(self, interval: int) -> None:
        self.keepalive = interval


class Machine:
    """+ sock: what its connections go through; + sshd: see Transport"""

    def __init__(self, sock: object = None, **sshd: Any):
        self.sock, self.sshd = sock, sshd
        self.transports: list[Transport] = []
        self.pool = SshPool(ADA, self.connect)

    def connect(self) -> Any:
        transport = Transport(**self.sshd)
        transport.sock = self.sock
        self.transports.append(transport)
        return SimpleNamespace(get_transport=lambda: transport)


def test_commands_one_after_the_other_take_one_connection() -> None:
    machine = Machine()
    for _ in range(50):
        ended: Any = machine.pool.session()
        ended.closed = True
    assert len(machine.transports) == 1


def test_forty_at_once_take_five_connections_and_never_more_sessions_than_sshd_wants() -> None:
    machine = Machine(allows=10)
    for _ in range(40):
        machine.pool.session()
    assert [len(transport.open) for transport in machine.transports] == [8] * 5


@pytest.mark.parametrize("allows", [1, 2, 5])
def test_an_sshd_that_wants_fewer_is_obeyed(allows: int) -> None:
    machine = Machine(allows=allows)
    for _ in range(10):
        machine.pool.session()
    assert [len(transport.open) for transport in machine.transports] == [allows] * (10 // allows)


def test_an_sshd_that_wants_none_is_told_of() -> None:
    says = r"db1: sshd of ada@10.0.0.1:22 does not open a session(.|\n)*HINT: .*MaxSessions"
    with pytest.raises(Unreachable, match=says):
        Machine(allows=0).pool.session()


def test_a_connection_that_dies_gives_up_the_machine() -> None:
    machine = Machine(allows=10)
    for _ in range(9):
        machine.pool.session()
    machine.transports[1].active = False
    with pytest.raises(Unreachable, match=r"db1: lost: ada@10.0.0.1:22 was silent for 30 s, or(.|\n)*try by hand"):
        machine.pool.session()
    # Its locks may be another's by now: it stays lost, whatever the other connection says.
    with pytest.raises(Unreachable, match="lost: ada@"):
        machine.pool.ensure_connected()
    assert len(machine.transports) == 2


def test_a_machine_is_given_up_after_half_a_minute_of_silence() -> None:
    with socket.socket() as line:
        Machine(line).pool.ensure_connected()
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10


def test_small_packets_do_not_wait_for_one_another() -> None:
    with socket.socket() as line:
        Machine(line).pool.ensure_connected()
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_behind_a_jump_host_the_jump_host_s_own_line_is_watched() -> None:
    with socket.socket() as line:
        jump: Any = object.__new__(Channel)
        jump.transport = SimpleNamespace(sock=line)
        Machine(jump).pool.ensure_connected()
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_behind_a_command_of_the_operator_s_own_the_line_is_kept_busy() -> None:
    machine = Machine("a process")
    machine.pool.ensure_connected()
    assert machine.transports[0].keepalive == 10


def test_a_port_is_dialled_over_a_connection_that_is_there() -> None:
    machine = Machine()
    machine.pool.ensure_connected()
    assert str(machine.pool.dial(5501, ("127.0.0.1", 9))) == "direct-tcpip"
    with pytest.raises(ChannelException):
        machine.pool.dial(1, ("127.0.0.1", 9))
    assert machine.pool.forwards


def test_an_sshd_that_forwards_nothing_is_asked_once() -> None:
    machine = Machine(prohibited=True)
    machine.pool.ensure_connected()
    assert machine.pool.dial(5501, ("127.0.0.1", 9)) is None
    machine.transports[0].prohibited = False
    assert machine.pool.dial(5501, ("127.0.0.1", 9)) is None


KEY = RSAKey.generate(1024)
FAULTS: list[tuple[BaseException, str, str]] = [
    (TimeoutError("timed out"), "no answer from ada@10.0.0.1:22", "is it up?"),
    (NoValidConnectionsError({("10.0.0.1", 22): OSError()}), "cannot be reached: ", "try by hand"),
    (socket.gaierror(-2, "Name or service not known"), "10.0.0.1 cannot be resolved", "is ssh_hostname right?"),
    (AuthenticationException("no"), "ada@10.0.0.1:22 refuses the login with /keys/ada", "authorized_keys"),
    (BadHostKeyException("10.0.0.1", KEY, KEY), "has another host key than known_hosts says", "ssh-keygen -lf"),
    (SSHException("StrictPolicy: No host key for 10.0.0.1 found in known_hosts"), "host key of", "ssh-keygen -lf"),
    (SSHException("Private key file (/keys/ada) is encrypted, set"), "the key /keys/ada is encrypted", "ssh-add"),
    (SSHException("Error reading SSH protocol banner"), "Error reading SSH protocol banner", "try by hand"),
    (EOFError(), "cannot be reached: it closed the connection", "try by hand"),
]


@pytest.mark.parametrize(("fault", "fact", "hint"), FAULTS, ids=lambda value: type(value).__name__)
def test_what_went_wrong_on_the_way_is_said_in_words_with_what_to_try(fault: Exception, fact: str, hint: str) -> None:
    def connect() -> Any:
        raise fault

    pool = SshPool(Login("db1", "10.0.0.1", 22, "ada", "/keys/ada", "/known hosts", sudo=True), connect)
    with pytest.raises(Unreachable) as refused:
        pool.ensure_connected()
    said, advice = str(refused.value).split("\nHINT: ")
    assert said.startswith("db1: unreachable: ")
    assert fact in said
    assert hint in advice
    if "ssh-add" not in advice:
        assert "ssh -p 22 -i /keys/ada -o 'UserKnownHostsFile=/known hosts' ada@10.0.0.1 true" in advice


def test_who_could_not_be_reached_is_not_tried_again() -> None:
    tries: list[int] = []

    def connect() -> Any:
        tries.append(1)
        raise TimeoutError

    pool = SshPool(ADA, connect)
    for _ in range(20):
        with pytest.raises(Unreachable, match="no answer"):
            pool.ensure_connected()
    assert len(tries) == 1
