"""
`@machine-ssh/<name>`: another machine; `@tenant-ssh/<name>`: a tenant on one.

All hosts of a machine share its connections (pgberth.connectors.ssh_pool). Nothing ever prompts at a terminal.
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
from pyinfra.connectors.util import CommandOutput

from pgberth.commands import as_account, script, shell
from pgberth.connectors.channel import (
    CHUNK,
    Bridge,
    Output,
    in_own_environment,
    line_for_login,
    read_output,
    said_before,
)
from pgberth.connectors.lease import LockLease, failed_output
from pgberth.connectors.refusals import not_run
from pgberth.connectors.ssh_pool import AGAIN, FAULTS, Login, NotRun, SshPool, SshPools, Unreachable
from pgberth.model.problems import Problem
from pgberth.run import current_run

_BRIDGE_SECONDS = 86_400  # longer than any run


class MachineConnector(SSHConnector):
    """
    Another machine: `@machine-ssh/<name>`.

    It shares its connections with its tenants: sshd accepts few at once, and few commands over each. Nothing ever
    prompts at a terminal. A machine that cannot be reached is reported once, with a command to try by hand.
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
        """Raises ConnectError: the first of the machine's hosts reports the whole problem, the others refer to it."""
        pools = current_run().part(SshPools).by_login
        self.pool = pools.setdefault(self.login, SshPool(self.login, self._open_connection))
        try:
            self.pool.ensure_connected()
            if not self.pool.root:
                self._become_root(self.pool)
        except Unreachable as lost:
            reported, self.pool.reported = self.pool.reported, True
            again = f"{self.login.machine} is unreachable; see the error above"
            raise ConnectError(again if reported else str(lost.problem)) from None

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """
        Run one command. Where the machine is lost the command fails, with the reason on its stderr.

        Raises TimeoutError after `_timeout` seconds.
        """
        if self.lease is not None and self.lease.lapsed():
            return False, failed_output(self.lease.problem)
        logger.debug("--> Running command on %s: %s", self.host.name, command)
        if print_input:
            logger.info("%s>>> %s", self.host.print_prefix, command)
        line = self._line(self._as(command), **arguments)
        try:
            code, output = self._run(line, _text(arguments.get("_stdin")), arguments.get("_timeout"), print_output)
        except NotRun as lost:
            return False, failed_output(lost.problem)
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
        """Upload a file with a command, as the account that commands run as: no temporary copy, and no sftp."""
        command = StringCommand("umask 077; cat >", QuoteString(remote_filename))
        if print_input:
            logger.info("%s>>> %s", self.host.print_prefix, command)
        line = self._line(self._as(command), **arguments)
        try:
            with get_file_io(filename_or_io, "rb") as file:
                chunks = iter(lambda: file.read(CHUNK), b"")
                code, output = self._run(line, chunks, arguments.get("_timeout"), print_output)
        except NotRun as lost:
            code, output = -1, failed_output(lost.problem)
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
        """Download a file in the same way."""
        command = StringCommand("cat", QuoteString(remote_filename))
        if print_input:
            logger.info("%s>>> %s", self.host.print_prefix, command)
        line = self._line(self._as(command), **arguments)
        try:
            with get_file_io(filename_or_io, "wb") as file:
                code, stderr = self._download(line, file)
        except NotRun as lost:
            code, stderr = -1, str(lost.problem)
        if code:
            logger.error("%s%s: %s", self.host.print_prefix, remote_filename, stderr)
        return code == 0

    def acquire_lock(self, command: StringCommand) -> tuple[LockLease | None, str]:
        """As TenantConnector.acquire_lock, with the reason in place of the line where the machine is unreachable."""
        try:
            channel = self._pool.session()
            channel.exec_command(self._line(self._as(command)))
            out, err = Output(channel.recv), Output(channel.recv_stderr)
            line = (out.lines().readline() or err.lines().readline()).strip()
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
        A channel to a port on the machine's loopback: forwarded by sshd, or by a command that does the same.

        Raises OSError where the port cannot be reached.
        """
        try:
            channel: Any = self._pool.dial(port, peer)
            if channel is None:
                session = self._pool.session()
                bridge = shell(script("common/bridge.sh"), str(port), timeout=_BRIDGE_SECONDS)
                session.exec_command(self._line(self._as(bridge)))
                channel = Bridge(session)
        except (Unreachable, EOFError, SSHException) as fault:
            raise ConnectionError(f"{self.host.name}: port {port}: {fault}") from None
        return channel

    @property
    def problem(self) -> Problem | None:
        """Why the machine is unreachable; None while it is not."""
        return self.pool.problem if self.pool is not None else None

    @property
    def _pool(self) -> SshPool:
        if self.pool is None:
            raise Unreachable(Problem(f"{self.host.name}: not connected over SSH", AGAIN))
        return self.pool

    def _as(self, command: StringCommand) -> StringCommand:
        return in_own_environment(command)

    def _line(self, command: StringCommand, **arguments: Any) -> str:
        return line_for_login(command, **{"_sudo": self.login.sudo, **arguments})

    def _run(self, line: str, stdin: Iterable[bytes], timeout: int | None, shown: bool) -> tuple[int, CommandOutput]:
        """Its exit code, negative where there is none, and its output. Raises NotRun, and TimeoutError."""
        with closing(self._pool.session()) as channel:
            try:
                channel.exec_command(line)
                # The command may end before it has read everything; its exit code and stderr say why.
                with suppress(OSError):
                    for chunk in stdin:
                        channel.sendall(chunk)
                    channel.shutdown_write()
            except FAULTS as fault:
                self._pool.check()
                return -1, failed_output(Problem(f"{self.host.name}: the command could not be sent: {fault}", AGAIN))
            out, err = Output(channel.recv), Output(channel.recv_stderr)
            output = read_output(out, err, timeout=timeout, shown=shown, prefix=self.host.print_prefix)
            code = channel.recv_exit_status()
        if code < 0:  # no exit code: the command was killed, or its fate is unknown
            self._pool.check()
        if not out.begun:
            raise NotRun(not_run(self.login, said_before(out, err)))
        return code, output

    def _download(self, line: str, file: Any) -> tuple[int, str]:
        """Write what the command prints to a file. Its exit code and its stderr. Raises NotRun."""
        with closing(self._pool.session()) as channel:
            try:
                channel.exec_command(line)
                channel.shutdown_write()
                out, err = Output(channel.recv), Output(channel.recv_stderr)
                while chunk := out.read():
                    file.write(chunk)
                stderr, code = err.lines().read(), channel.recv_exit_status()
            except FAULTS as fault:
                self._pool.check()
                return -1, str(fault)
        if code < 0:
            self._pool.check()
        if not out.begun:
            raise NotRun(not_run(self.login, said_before(out, err)))
        return code, stderr

    def _open_connection(self) -> SSHClient:
        """One more connection. Raises ssh_pool.FAULTS."""
        if name := self.login.key:
            try:
                self.state.private_keys[name] = load_key_with_certificate(name, cwd=self.state.cwd, allow_prompt=False)
            except PyinfraError as unusable:
                raise SSHException(unusable) from None
        options = self.make_paramiko_kwargs()
        hostname = options.pop("hostname")
        self.client = SSHClient()
        try:
            self.client.connect(hostname, **options)
        except SSHException as fault:
            if not self._retry_paramiko_agent_keys(hostname, options, fault):
                raise
        return self.client

    def _become_root(self, pool: SshPool) -> None:
        """Raises Unreachable where the login's sudo does not make it root. The account may not exist yet."""
        try:
            self._run(self._line(StringCommand("true")), (), 30, shown=False)
        except NotRun as refused:
            raise pool.give_up(refused.problem) from None
        pool.root = True


class RemoteTenantConnector(MachineConnector):
    """
    One tenant on another machine. The host's name is the tenant's.

    It logs in as the machine's operator, root or an account with sudo, and runs every command as the service account.
    So the account needs no key, and may not exist yet when the run begins.
    """

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        if not name:
            raise InventoryError("@tenant-ssh needs a name: @tenant-ssh/acme")
        yield name, {}, ["@tenant-ssh"]

    def _as(self, command: StringCommand) -> StringCommand:
        return as_account(str(self.host.data.get("pgberth_account") or ""), command)


def _text(stdin: Any) -> list[bytes]:
    """What pyinfra gives as standard input, with the end of each line; in one piece, since each piece is a packet."""
    lines = stdin.readlines() if hasattr(stdin, "readlines") else stdin or []
    text = "".join(f"{line.removesuffix(chr(10))}\n" for line in ([lines] if isinstance(lines, str) else lines))
    return [text.encode()] if text else []
