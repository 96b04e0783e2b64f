"""
`@tenant/<name>`: a tenant on this machine. pgberth.connectors.ssh has those on other machines.

Every command runs as the service account, even where root runs pyinfra.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gevent.subprocess import PIPE, Popen
from pyinfra import logger
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.util import CommandOutput, write_stdin

import pgberth.report.closing as closing
from pgberth.connectors.channel import Output, framed, read_output
from pgberth.connectors.lease import LockLease, failed_output
from pgberth.model.problems import Problem

# pyinfra imports the connectors of every entry point at start-up, so every run executes this module.
closing.install()
# pyinfra keeps Python from writing bytecode, so that every run would compile this whole package again. An operator who
# asked Python for the same (python -B) still gets it.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Identity:
    """The account that commands run as: the service account, or the caller where the caller is not root."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def of(cls, account: str | None) -> Identity:
        """Raises LookupError where the account does not exist."""
        try:
            entry = pwd.getpwnam(account) if os.geteuid() == 0 and account else pwd.getpwuid(os.geteuid())
        except KeyError:
            raise LookupError(f"account {account!r} does not exist on this machine") from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)

    @property
    def runtime_directory(self) -> str:
        return f"/run/user/{self.uid}"

    def environment(self) -> dict[str, str]:
        """The whole environment of a command: nothing of the caller's environment reaches a tenant."""
        return {
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "LANG": "C.UTF-8",
            "PATH": _PATH,
            "XDG_RUNTIME_DIR": self.runtime_directory,
        }

    def popen_arguments(self) -> dict[str, Any]:
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": os.getgrouplist(self.name, self.gid)}

    def start(self, command: StringCommand) -> Any:
        """
        Start the command as this account, in its home, in a new session, with pipes; its output is framed.

        Raises LookupError where the home does not exist.
        """
        if not Path(self.home).is_dir():
            raise LookupError(f"account {self.name!r} has no home {self.home} on this machine")
        return Popen(
            ["/bin/sh", "-c", framed(command).get_raw_value()],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self.home,
            env=self.environment(),
            umask=0o077,
            start_new_session=True,  # a Ctrl-C at the terminal must not stop a command half-way
            **self.popen_arguments(),
        )


class TenantConnector(LocalConnector):
    """
    One tenant on this machine.

    The host's name is the tenant's, so that `--limit acme` means the same here and over SSH.
    """

    handles_execution = True
    lease: LockLease | None = None

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        if not name:
            raise InventoryError("@tenant needs a name: @tenant/acme")
        yield name, {}, ["@tenant"]

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run one command as the service account, in its home, with umask 077, in a new session."""
        if self.lease is not None and self.lease.lapsed():
            return False, failed_output(self.lease.problem)
        try:
            identity = Identity.of(self.host.data.get("pgberth_account"))
            logger.debug("--> Running command as %s: %s", identity.name, command)
            if print_input:
                logger.info("%s>>> %s", self.host.print_prefix, command)
            process = identity.start(command)
        except LookupError as missing:
            hint = "run the deploy once without --limit; it prepares the machine"
            return False, failed_output(Problem(str(missing), hint))
        with process:
            _feed(process, arguments.get("_stdin"))
            out, err = _outputs(process)
            prefix = self.host.print_prefix
            output = read_output(out, err, timeout=arguments.get("_timeout"), shown=print_output, prefix=prefix)
            code = process.wait()
        return code in (arguments.get("_success_exit_codes") or [0]), output

    def acquire_lock(self, command: StringCommand) -> tuple[LockLease | None, str]:
        """
        Run a command that holds a lock until this process ends, or stops sending heartbeats.

        The lease, None where the lock is not held; and the first line that the command prints, "held" where it is.
        """
        try:
            process = Identity.of(self.host.data.get("pgberth_account")).start(command)
        except LookupError as missing:
            return None, str(missing)
        out, _ = _outputs(process)
        line = out.lines().readline().strip()
        if line == "held":
            self.lease = LockLease(
                self.host.name, partial(os.write, process.stdin.fileno()), lambda: process.poll() is None
            )
        return self.lease, line


def _outputs(process: Any) -> tuple[Output, Output]:
    return Output(process.stdout.read1), Output(process.stderr.read1)


def _feed(process: Any, stdin: Any) -> None:
    # The command may end before it has read everything; its exit code and stderr say why. Closing would try to write
    # the rest once more.
    with suppress(BrokenPipeError):
        if stdin:
            write_stdin(stdin, process.stdin)
    with suppress(BrokenPipeError):
        process.stdin.close()
