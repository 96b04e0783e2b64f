"""
`@machine-ssh/<name>`: another machine; `@tenant-ssh/<name>`: a tenant on one.

All hosts of a machine share its connections (pgberth.connectors.ssh_pool). Nothing is ever asked at a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from typing import Any

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import QuoteString, StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError, PyinfraError
from pyinfra.api.util import get_file_io
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.ssh_util import load_key_with_certificate
from pyinfra.connectors.sshuserclient import SSHClient
from pyinfra.connectors.util import CommandOutput, make_unix_command, read_output_buffers

from pgberth.commands import as_account, script, shell
from pgberth.connectors.lease import LockLease, said
from pgberth.connectors.ssh_pool import FAULTS, Login, SshPool, SshPools, Unreachable, sudo_refused
from pgberth.model.problems import Problem
from pgberth.run import current_run

# What pyinfra hands to a connector for itself, not for the command.
_OURS = frozenset({"_stdin", "_timeout", "_get_pty", "_success_exit_codes"})

_CHUNK = 32_768  # bytes
_BRIDGED = 86_400  # seconds; longer than any run


class MachineConnector(SSHConnector):
    """
    Another machine: `@machine-ssh/<name>`.

    Its connections are shared with its tenants: sshd takes few at once, and few commands over each. Nothing is ever
    asked at a terminal, and what goes wrong on the way is said once, with what to try by hand.
    """

    handles_execution = True
    pool: SshPool | None = None
    lease: LockLease | None = None

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        if not name:
            raise InventoryError("@machine-ssh needs a name: @machine-ssh/db1")
        yield name, {}, ["@machine-ssh"]

    @property
    def login(self) -> Login:
        data = self.host.data
        return Login(
            machine=str(data.get("pgberth_machine") or self.host.name),
            hostname=str(self.data["ssh_hostname"] or self.host.name),
            port=int(self.data["ssh_port"] or 22),
            user=str(self.data["ssh_user"] or ""),
            key=str(self.data["ssh_key"] or ""),
            known_hosts=str(self.data["ssh_known_hosts_file"] or ""),
            sudo=bool(data.get("_sudo")),
        )

    def connect(self) -> None:
        """Raises ConnectError: with the whole problem for the first of the machine's hosts, then with a word."""
        self.pool = current_run().part(SshPools).by_login.setdefault(self.login, SshPool(self.login, self._line))
        try:
            self.pool.reach()
            if not self.pool.root:
                self._become_root(self.pool)
        except Unreachable as lost:
            told, self.pool.told = self.pool.told, True
            words = f"{self.login.machine} was not reached, as said" if told else str(lost.problem)
            raise ConnectError(words) from None

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """
        Run one command. Where the machine is lost it has failed, with the reason on its stderr.

        Raises TimeoutError after `_timeout` seconds.
        """
        if self.lease is not None and self.lease.lapsed():
            return False, said(self.lease.problem)
        sent = self._sent(command, **arguments)
        logger.debug("--> Running command on %s: %s", self.host.name, sent)
        if print_input:
            logger.info("%s>>> %s", self.host.print_prefix, sent)
        try:
            code, output = self._ended(sent, _text(arguments.get("_stdin")), arguments.get("_timeout"), print_output)
        except Unreachable as lost:
            return False, said(lost.problem)
        return code in (arguments.get("_success_exit_codes") or [0]), output

    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,  # noqa: ARG002  (pyinfra's)
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """A file by a command, as whoever commands run as: it lies nowhere else on the way, and needs no sftp."""
        sent = self._sent(StringCommand("umask 077; cat >", QuoteString(remote_filename)), **arguments)
        if print_input:
            logger.info("%s>>> %s", self.host.print_prefix, sent)
        try:
            with get_file_io(filename_or_io, "rb") as file:
                chunks = iter(lambda: file.read(_CHUNK), b"")
                code, output = self._ended(sent, chunks, arguments.get("_timeout"), print_output)
        except Unreachable as lost:
            code, output = -1, said(lost.problem)
        if code:
            logger.error("%s%s: %s", self.host.print_prefix, remote_filename, output.output)
        return code == 0

    def get_file(
        self,
        remote_filename: str,
        filename_or_io: Any,
        remote_temp_filename: str | None = None,  # noqa: ARG002  (pyinfra's)
        print_output: bool = False,  # noqa: ARG002  (the output is the file)
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """The same the other way."""
        sent = self._sent(StringCommand("cat", QuoteString(remote_filename)), **arguments)
        if print_input:
            logger.info("%s>>> %s", self.host.print_prefix, sent)
        try:
            with get_file_io(filename_or_io, "wb") as file:
                code, said_there = self._copied(sent, file)
        except Unreachable as lost:
            code, said_there = -1, str(lost.problem)
        if code:
            logger.error("%s%s: %s", self.host.print_prefix, remote_filename, said_there)
        return code == 0

    def hold(self, command: StringCommand) -> tuple[LockLease | None, str]:
        """A command that lives until this process ends, or falls silent; and the first line it says, "held"."""
        try:
            channel = self._pool.session()
            channel.set_combine_stderr(True)
            channel.exec_command(self._sent(command).get_raw_value())
            line = channel.makefile("r").readline().strip()
            if not line:
                self._pool.check()
        except Unreachable as lost:
            return None, lost.problem.fact
        except FAULTS as fault:
            return None, str(fault)
        if line == "held":
            self.lease = LockLease(self.host.name, channel.sendall, lambda: not channel.closed)
        return self.lease, line

    def dial(self, port: int, peer: tuple[str, int]) -> Any:
        """
        A channel to a port on the machine's loopback: sshd's own forward, or a command that does the same.

        Raises OSError where there is none.
        """
        try:
            channel = self._pool.dial(port, peer)
            if channel is None:
                channel = self._pool.session()
                bridge = shell(script("common/bridge.sh"), str(port), timeout=_BRIDGED)
                channel.exec_command(self._sent(bridge).get_raw_value())
        except (Unreachable, EOFError, SSHException) as fault:
            raise ConnectionError(f"{self.host.name}: port {port}: {fault}") from None
        return channel

    @property
    def problem(self) -> Problem | None:
        """Why the machine is not to be had; None while it is."""
        return self.pool.problem if self.pool is not None else None

    @property
    def _pool(self) -> SshPool:
        if self.pool is None:
            raise Unreachable(Problem(f"{self.host.name}: not connected over SSH"))
        return self.pool

    def _as(self, command: StringCommand) -> StringCommand:
        return command

    def _sent(self, command: StringCommand, **arguments: Any) -> StringCommand:
        given = {name: value for name, value in arguments.items() if name not in _OURS}
        given.setdefault("_sudo", self.login.sudo)
        return make_unix_command(self._as(command), **given)

    def _ended(
        self, sent: StringCommand, stdin: Iterable[bytes], timeout: int | None, shown: bool
    ) -> tuple[int, CommandOutput]:
        with closing(self._pool.session()) as channel:
            try:
                channel.exec_command(sent.get_raw_value())
                # It may end before it has read everything; its exit code and stderr tell why.
                with suppress(OSError):
                    for chunk in stdin:
                        channel.sendall(chunk)
                    channel.shutdown_write()
            except FAULTS as fault:
                self._pool.check()
                return -1, said(Problem(f"{self.host.name}: no command could be sent: {fault}"))
            out, err = channel.makefile("r"), channel.makefile_stderr("r")
            prefix = self.host.print_prefix
            output = read_output_buffers(out, err, timeout=timeout, print_output=shown, print_prefix=prefix)
            code = channel.recv_exit_status()
        if code < 0:  # no exit code: it was killed, or it is not known what became of it
            self._pool.check()
        return code, output

    def _copied(self, sent: StringCommand, file: Any) -> tuple[int, str]:
        """What the command prints, into a file; its exit code and what it says beside."""
        with closing(self._pool.session()) as channel:
            try:
                channel.exec_command(sent.get_raw_value())
                channel.shutdown_write()
                while chunk := channel.recv(_CHUNK):
                    file.write(chunk)
                said_there, code = channel.makefile_stderr("r").read(), channel.recv_exit_status()
            except FAULTS as fault:
                self._pool.check()
                return -1, str(fault)
        if code < 0:
            self._pool.check()
        return code, str(said_there)

    def _line(self) -> SSHClient:
        """One more connection. Raises ssh.FAULTS."""
        if name := self.login.key:
            try:
                self.state.private_keys[name] = load_key_with_certificate(name, cwd=self.state.cwd, allow_prompt=False)
            except PyinfraError as unusable:
                raise SSHException(unusable) from None
        given = self.make_paramiko_kwargs()
        hostname = given.pop("hostname")
        self.client = SSHClient()
        try:
            self.client.connect(hostname, **given)
        except SSHException as fault:
            if not self._retry_paramiko_agent_keys(hostname, given, fault):
                raise
        return self.client

    def _become_root(self, pool: SshPool) -> None:
        code, output = self._ended(self._sent(StringCommand("true")), (), 30, shown=False)
        if code:
            raise pool.give_up(sudo_refused(self.login, output.output.strip()))
        pool.root = True


class RemoteTenantConnector(MachineConnector):
    """
    One tenant on another machine, under the bare name.

    It logs in as the machine's own operator, root or one with sudo, and every command becomes the service account: the
    account needs no key of its own, and need not exist yet when the run begins.
    """

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        if not name:
            raise InventoryError("@tenant-ssh needs a name: @tenant-ssh/acme")
        yield name, {}, ["@tenant-ssh"]

    def _as(self, command: StringCommand) -> StringCommand:
        return as_account(str(self.host.data.get("pgberth_account") or ""), command)


def _text(stdin: Any) -> list[bytes]:
    """What pyinfra hands over as standard input, each line with its end; in one piece, since each is a packet."""
    lines = stdin.readlines() if hasattr(stdin, "readlines") else stdin or []
    text = "".join(f"{line.removesuffix(chr(10))}\n" for line in ([lines] if isinstance(lines, str) else lines))
    return [text.encode()] if text else []
