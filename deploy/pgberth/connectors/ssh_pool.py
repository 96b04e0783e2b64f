"""One machine's SSH connections: opened when they are needed, and shared by the machine and all of its tenants."""

from __future__ import annotations

import logging
import shlex
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gevent.lock import BoundedSemaphore
from paramiko import AuthenticationException, BadHostKeyException, Channel, ChannelException, SSHException, Transport

from pgberth.model.problems import Problem

SILENT = 30  # seconds without an answer, after which a machine counts as lost
SESSIONS = 8  # over one connection; sshd's default MaxSessions is 10, and it counts an ended session longer than we do
_PROHIBITED = 1  # RFC 4254, 5.1: sshd does not allow the forward, whatever listens at the other end

AGAIN = "then run the deploy again; runbooks/machine-is-unreachable.md"
# Every error of a connection. EOFError: sshd closed it during the login.
FAULTS = (OSError, EOFError, SSHException)


# paramiko's log lines are not for operators: this module reports the same errors in plain words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class NotRun(Exception):
    """A command was not run on the machine."""

    def __init__(self, problem: Problem):
        super().__init__(str(problem))
        self.problem = problem


class Unreachable(NotRun):
    """The machine is unreachable for the rest of the run."""


@dataclass(frozen=True)
class Login:
    """
    Where to log in, and as whom. The tenants of a machine use their machine's.

    + user, key, known_hosts: "" for ssh's own default
    + sudo: whether commands become root through sudo
    """

    machine: str
    hostname: str
    port: int = 22
    user: str = ""
    key: str = ""
    known_hosts: str = ""
    sudo: bool = False

    def __str__(self) -> str:
        return f"{self.user}@{self.hostname}:{self.port}" if self.user else f"{self.hostname}:{self.port}"

    def by_hand(self, command: str = "true") -> str:
        """The ssh command that logs in the same way."""
        options = ["-p", str(self.port)]
        options += ["-i", self.key] if self.key else []
        options += ["-o", f"UserKnownHostsFile={self.known_hosts}"] if self.known_hosts else []
        return shlex.join(["ssh", *options, f"{self.user}@{self.hostname}" if self.user else self.hostname, command])


@dataclass
class SshConnection:
    """One connection and its channels. + opening: how many channels are being opened"""

    client: Any
    channels: list[Channel] = field(default_factory=list)
    opening: int = 0

    @property
    def transport(self) -> Transport:
        transport: Transport = self.client.get_transport()
        return transport

    @property
    def dead(self) -> bool:
        """paramiko closes all channels of a connection before it reports that the connection is no longer active."""
        return not self.transport.is_active() or getattr(self.transport, "saved_exception", None) is not None

    @property
    def sessions(self) -> int:
        self.channels = [channel for channel in self.channels if not channel.closed]
        return len(self.channels) + self.opening

    def session(self) -> Channel:
        """A new channel. The caller has increased `opening` for it."""
        try:
            channel: Channel = self.transport.open_session(timeout=SILENT)
            self.channels.append(channel)
        finally:
            self.opening -= 1
        return channel


class SshPool:
    """
    The connections to one machine.

    A machine that was lost once stays lost for the run: another operator may have its locks by now.

    + connect: opens one more connection. Raises FAULTS.
    """

    def __init__(self, login: Login, connect: Callable[[], Any]):
        self.login = login
        self.problem: Problem | None = None
        self.reported = False  # whether the operator has seen the problem
        self.root = not login.sudo  # whether commands are known to run as root
        self.forwards = True  # whether sshd forwards ports, as far as we know
        self._connect = connect
        self._connections: list[SshConnection] = []
        self._allowed = SESSIONS
        self._connecting = BoundedSemaphore()

    def check(self) -> None:
        """Raises Unreachable where the machine is unreachable or lost."""
        if self.problem is None and any(connection.dead for connection in self._connections):
            self.problem = _lost(self.login)
        if self.problem is not None:
            raise Unreachable(self.problem)

    def give_up(self, problem: Problem) -> Unreachable:
        """Count the machine as unreachable; its first problem stays."""
        self.problem = self.problem or problem
        return Unreachable(self.problem)

    def ensure_connected(self) -> None:
        """Raises Unreachable."""
        with self._connecting:
            self.check()
            if not self._connections:
                self._connect_again()

    def session(self) -> Channel:
        """
        A channel for one command.

        Raises Unreachable.
        """
        while True:
            connection = self._free_connection()
            try:
                return connection.session()
            except FAULTS as fault:
                self.check()
                if connection.sessions == 0:
                    raise self.give_up(_no_session(self.login, fault)) from None
                self._allowed = max(1, min(self._allowed, connection.sessions))

    def dial(self, port: int, peer: tuple[str, int]) -> Channel | None:
        """
        A channel to a port of the machine's loopback; None where its sshd forwards no port.

        Raises FAULTS where nothing listens there, Unreachable where the machine is lost.
        """
        self.check()
        if not self.forwards:
            return None
        try:
            return self._connections[0].transport.open_channel(
                "direct-tcpip", ("127.0.0.1", port), peer, timeout=SILENT
            )
        except ChannelException as refused:
            if refused.code != _PROHIBITED:
                raise
            self.forwards = False
        except SSHException:
            self.check()  # passes where two were refused at once: paramiko gives the reason to one of them only
        return None

    def _free_connection(self) -> SshConnection:
        """A connection that takes one more session. One at a time: sshd refuses simultaneous logins (MaxStartups)."""
        with self._connecting:
            self.check()
            free = (connection for connection in self._connections if connection.sessions < self._allowed)
            connection = next(free, None) or self._connect_again()
            connection.opening += 1
            return connection

    def _connect_again(self) -> SshConnection:
        try:
            connection = SshConnection(self._connect())
        except FAULTS as fault:
            # After a first connection, a command of this run may still be at work there.
            problem = _lost(self.login, fault) if self._connections else _unreachable(self.login, fault)
            raise self.give_up(problem) from None
        _tune(connection.transport)
        self._connections.append(connection)
        return connection


def _tune(transport: Transport) -> None:
    """
    Let the kernel end the connection when the machine does not answer any more; it probes an idle one.

    And send small packets at once. A command is a few of them, and each would wait some 40 ms until the other side
    acknowledges the one before.
    """
    sock: Any = transport.sock
    while isinstance(sock, Channel):  # through a jump host
        sock = sock.get_transport().sock
    if not isinstance(sock, socket.socket):
        transport.set_keepalive(SILENT // 3)  # through a command of the operator (ProxyCommand)
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_USER_TIMEOUT", SILENT * 1000)):
        if hasattr(socket, option):  # only Linux has TCP_USER_TIMEOUT
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _lost(login: Login, fault: BaseException | None = None) -> Problem:
    """
    The problem of a connection that was lost.

    + fault: the error of a later attempt to connect; None if an open connection died
    """
    # paramiko does not tell the kernel's timeout from a closed connection.
    fact = f"{login.machine}: lost: {login} was silent for {SILENT} s, or closed the connection"
    if fault is not None:
        fact = f"{login.machine}: lost: {login} refuses further connections: {str(fault) or 'no answer'}"
    hint = f"try by hand: {login.by_hand()}; the command that ran there may still run; {AGAIN}"
    return Problem(fact, hint)


def _no_session(login: Login, fault: BaseException) -> Problem:
    fact = f"{login.machine}: sshd of {login} does not open a session: {fault}"
    return Problem(fact, f"try by hand: {login.by_hand()}; MaxSessions must be at least 1; {AGAIN}")


def _unreachable(login: Login, fault: BaseException) -> Problem:
    """Why the first connection to a machine failed."""
    by_hand = f"try by hand: {login.by_hand()}; {AGAIN}"
    match fault:
        case BadHostKeyException():
            fact = f"{login} has another host key than known_hosts says"
            hint = (
                "was it installed again? On its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub; "
                f"if that is the new key, remove the old one (ssh-keygen -R), and {by_hand}"
            )
        case AuthenticationException():
            fact = f"{login} refuses the login{f' with {login.key}' if login.key else ''}"
            hint = f"add the key to authorized_keys there; {by_hand}"
        case SSHException() if "encrypted" in str(fault):
            fact = f"the key {login.key} is encrypted, and a run cannot ask for its passphrase"
            hint = f"ssh-add {login.key}, and leave ssh_key out of the inventory; {AGAIN}"
        case SSHException() if "known_hosts" in str(fault):
            fact = f"the host key of {login} is not known"
            hint = f"compare it with the machine's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); {by_hand}"
        case socket.gaierror():
            fact, hint = f"{login.hostname} cannot be resolved", f"is ssh_hostname right? {by_hand}"
        case TimeoutError():
            fact, hint = f"no answer from {login}", f"is it up? {by_hand}"
        case _:
            fact, hint = f"{login} cannot be reached: {str(fault) or 'it closed the connection'}", by_hand
    return Problem(f"{login.machine}: unreachable: {fact}", f"nothing was touched there; {hint}")


@dataclass
class SshPools:
    """The run's connections to its machines, by login."""

    by_login: dict[Login, SshPool] = field(default_factory=dict)
