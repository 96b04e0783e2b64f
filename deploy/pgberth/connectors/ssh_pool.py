"""One machine's SSH connections: opened as they are needed, and shared by the machine and all of its tenants."""

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

SILENT = 30  # seconds without a sign of life, after which a machine is given up
SESSIONS = 8  # over one connection; sshd's MaxSessions is 10 unless told otherwise, and it forgets one later than we
_PROHIBITED = 1  # RFC 4254, 5.1: the machine's sshd does not want it, whatever is at the other end

_AGAIN = "then run the deploy again; runbooks/machine-is-not-reached.md"
# What goes wrong on the way to a machine. EOFError: sshd hung up while logging in.
FAULTS = (OSError, EOFError, SSHException)


# What paramiko logs is said here in other words, where it is for an operator.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Unreachable(Exception):
    """The machine is not to be had any more in this run."""

    def __init__(self, problem: Problem):
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Login:
    """
    Who logs in where; a machine's tenants have their machine's.

    + sudo: whether it becomes root through sudo
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
        """The ssh command that goes the same way."""
        options = ["-p", str(self.port)]
        options += ["-i", self.key] if self.key else []
        options += ["-o", f"UserKnownHostsFile={self.known_hosts}"] if self.known_hosts else []
        return shlex.join(["ssh", *options, f"{self.user}@{self.hostname}" if self.user else self.hostname, command])


@dataclass
class SshConnection:
    """One connection, and what goes over it."""

    client: Any
    channels: list[Channel] = field(default_factory=list)
    opening: int = 0

    @property
    def transport(self) -> Transport:
        transport: Transport = self.client.get_transport()
        return transport

    @property
    def dead(self) -> bool:
        """paramiko ends all that goes over a connection before it says that the connection is no longer active."""
        return not self.transport.is_active() or getattr(self.transport, "saved_exception", None) is not None

    @property
    def sessions(self) -> int:
        self.channels = [channel for channel in self.channels if not channel.closed]
        return len(self.channels) + self.opening

    def session(self) -> Channel:
        """For whom `opening` was counted up."""
        try:
            channel: Channel = self.transport.open_session(timeout=SILENT)
            self.channels.append(channel)
        finally:
            self.opening -= 1
        return channel


class SshPool:
    """
    The way to one machine.

    Lost once, it stays lost for the run: the locks that were held over it may be another operator's by now.

    + connect: makes one more connection. Raises FAULTS.
    """

    def __init__(self, login: Login, connect: Callable[[], Any]):
        self.login = login
        self.problem: Problem | None = None
        self.told = False  # whether the operator has been told of it
        self.root = not login.sudo  # whether commands are known to become root
        self.forwards = True
        self._connect = connect
        self._lines: list[SshConnection] = []
        self._allowed = SESSIONS
        self._connecting = BoundedSemaphore()

    @property
    def lines(self) -> int:
        """How many connections there are."""
        return len(self._lines)

    def check(self) -> None:
        """Raises Unreachable where the machine could not be reached, or is lost."""
        if self.problem is None and any(line.dead for line in self._lines):
            self.problem = _lost(self.login)
        if self.problem is not None:
            raise Unreachable(self.problem)

    def give_up(self, problem: Problem) -> Unreachable:
        self.problem = self.problem or problem
        return Unreachable(self.problem)

    def reach(self) -> None:
        """Raises Unreachable."""
        with self._connecting:
            self.check()
            if not self._lines:
                self._new_line()

    def session(self) -> Channel:
        """
        A channel for one command.

        Raises Unreachable.
        """
        while True:
            line = self._line_with_room()
            try:
                return line.session()
            except FAULTS as fault:
                self.check()
                if line.sessions == 0:
                    raise self.give_up(_no_session(self.login, fault)) from None
                self._allowed = max(1, min(self._allowed, line.sessions))

    def dial(self, port: int, peer: tuple[str, int]) -> Channel | None:
        """
        A channel to a port of the machine's loopback; None where its sshd allows none.

        Raises FAULTS where nothing listens there, Unreachable where the machine is lost.
        """
        self.check()
        if not self.forwards:
            return None
        try:
            return self._lines[0].transport.open_channel("direct-tcpip", ("127.0.0.1", port), peer, timeout=SILENT)
        except ChannelException as refused:
            if refused.code != _PROHIBITED:
                raise
            self.forwards = False
        except SSHException:
            self.check()  # else two were refused at once, and paramiko tells the reason to one of them only
        return None

    def _line_with_room(self) -> SshConnection:
        """One at a time: sshd turns away those that knock together (MaxStartups)."""
        with self._connecting:
            self.check()
            line = next((line for line in self._lines if line.sessions < self._allowed), None) or self._new_line()
            line.opening += 1
            return line

    def _new_line(self) -> SshConnection:
        try:
            line = SshConnection(self._connect())
        except FAULTS as fault:
            # Where one connection came about before, something of ours may still be at work there.
            problem = _lost(self.login, fault) if self._lines else _not_reached(self.login, fault)
            raise self.give_up(problem) from None
        _tune(line.transport)
        self._lines.append(line)
        return line


def _tune(transport: Transport) -> None:
    """
    Give the connection up when nothing of the machine is heard any more; it is asked while nothing is said.

    And send what there is at once: a command is a few small packets, each of which would otherwise wait some 40 ms for
    the other side to acknowledge the one before.
    """
    line: Any = transport.sock
    while isinstance(line, Channel):  # by way of a jump host
        line = line.get_transport().sock
    if not isinstance(line, socket.socket):
        transport.set_keepalive(SILENT // 3)  # a command of the operator's own brings us there
        return
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_USER_TIMEOUT", SILENT * 1000)):
        if hasattr(socket, option):  # TCP_USER_TIMEOUT is Linux's
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _lost(login: Login, fault: BaseException | None = None) -> Problem:
    """+ fault: of a further connection, where that is how it was noticed"""
    # paramiko takes the kernel's timeout for one of its own, and sees no more than an end.
    fact = f"{login.machine}: lost: {login} was silent for {SILENT} s, or closed the connection"
    if fault is not None:
        fact = f"{login.machine}: lost: {login} lets no more in: {str(fault) or 'no answer'}"
    hint = f"try by hand: {login.by_hand()}; what it was doing may still run there; {_AGAIN}"
    return Problem(fact, hint)


def _no_session(login: Login, fault: BaseException) -> Problem:
    fact = f"{login.machine}: sshd of {login} opens no session: {fault}"
    return Problem(fact, f"try by hand: {login.by_hand()}; it needs MaxSessions of at least 1; {_AGAIN}")


def _not_reached(login: Login, fault: BaseException) -> Problem:
    """What went wrong on the way to a machine, in words."""
    by_hand = f"try by hand: {login.by_hand()}; {_AGAIN}"
    match fault:
        case BadHostKeyException():
            fact = f"{login} has another host key than known_hosts says"
            hint = (
                "was it installed anew? On its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub; "
                f"if that is the new key, remove the old one (ssh-keygen -R), and {by_hand}"
            )
        case AuthenticationException():
            fact = f"{login} refuses the login{f' with {login.key}' if login.key else ''}"
            hint = f"let the key into authorized_keys there; {by_hand}"
        case SSHException() if "encrypted" in str(fault):
            fact = f"the key {login.key} is encrypted, and nobody is there to be asked"
            hint = f"ssh-add {login.key}, and leave ssh_key out of the inventory; {_AGAIN}"
        case SSHException() if "known_hosts" in str(fault):
            fact = f"the host key of {login} is not known"
            hint = f"compare it with the machine's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); {by_hand}"
        case socket.gaierror():
            fact, hint = f"{login.hostname} cannot be resolved", f"is ssh_hostname right? {by_hand}"
        case TimeoutError():
            fact, hint = f"no answer from {login}", f"is it up? {by_hand}"
        case _:
            fact, hint = f"{login} cannot be reached: {str(fault) or 'it hung up'}", by_hand
    return Problem(f"{login.machine}: not reached: {fact}", f"nothing was touched there; {hint}")


def sudo_refused(login: Login, said: str) -> Problem:
    """Why commands cannot become root."""
    if "password" in said:
        fact = f"sudo of {login} asks for a password, and nobody is there to answer"
    else:
        fact = f"sudo of {login} does not make it root: {said or 'without a reason'}"
    hint = (
        f"as root there: echo '{login.user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/pgberth; or let root log in; "
        f"try by hand: {login.by_hand('sudo -n true')}; {_AGAIN}"
    )
    return Problem(f"{login.machine}: {fact}", f"nothing was touched there; {hint}")


@dataclass
class SshPools:
    """The run's ways to its machines, by login."""

    by_login: dict[Login, SshPool] = field(default_factory=dict)
