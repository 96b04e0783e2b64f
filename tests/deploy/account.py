"""The account that carries the tests' tenants: one of their own where they run as root, else the caller's."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.processes import eventually, kill, processes

ROOT = os.geteuid() == 0
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Account:
    """A login of this machine. It need not exist yet: a deploy that runs as root makes its own."""

    name: str

    @property
    def entry(self) -> pwd.struct_passwd:
        """Raises KeyError while it does not exist."""
        return pwd.getpwnam(self.name)

    @property
    def exists(self) -> bool:
        return any(entry.pw_name == self.name for entry in pwd.getpwall())

    @property
    def uid(self) -> int:
        return self.entry.pw_uid

    @property
    def home(self) -> Path:
        return Path(self.entry.pw_dir)

    def start(
        self, *command: str, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command as this account, in its home, with nothing of the caller's environment."""
        mine = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "LANG": "C.UTF-8",
            "PATH": PATH,
            "XDG_RUNTIME_DIR": f"/run/user/{self.uid}",
            **(environment or {}),
        }
        if os.geteuid() != self.uid:
            options |= {"user": self.uid, "group": self.entry.pw_gid, "extra_groups": []}
        return subprocess.Popen(command, env=mine, text=True, umask=0o077, **{"cwd": self.home, **options})

    def run(self, *command: str, stdin: str = "", timeout: float = 180, check: bool = True, **options: Any) -> Ended:
        """Run a command as this account. Raises AssertionError with its own words where it fails and `check` is set."""
        pipe = subprocess.PIPE
        with self.start(*command, stdin=pipe, stdout=pipe, stderr=pipe, **options) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        ended = Ended(process.returncode, out, err)
        assert ended.code == 0 or not check, f"{' '.join(command)[:300]}: exit code {ended.code}\n{ended.said}"
        return ended

    def podman(self, *arguments: str, stdin: str = "", check: bool = True) -> Ended:
        return self.run("podman", *arguments, stdin=stdin, check=check)

    def remove(self) -> None:
        """No process, container, file or line in a system file of this account is left. For throwaway ones only."""
        if not self.exists:
            return
        uid, home = self.uid, self.home
        eventually(lambda: _all_dead(uid))
        # Before the number is free again: its next owner would find them to be his.
        subprocess.run(
            ["find", *_TEMPORARY, "-maxdepth", "1", "-uid", str(uid), "-exec", "rm", "-rf", "{}", "+"], check=True
        )
        subprocess.run(["userdel", "--remove", self.name], check=False, capture_output=True)
        for place in (home, Path(f"/run/user/{uid}")):
            shutil.rmtree(place, ignore_errors=True)


_TEMPORARY = (tempfile.gettempdir(), "/var/tmp")  # where podman has its own


def _all_dead(uid: int) -> bool:
    found = list(processes(uid))
    for process in found:
        kill(process.pid)
    return not found


@contextlib.contextmanager
def throwaway(what: str) -> Iterator[Account]:
    """
    A name that nobody has yet; whatever becomes an account of it is gone at the end, however that comes.

    Needs root.
    """
    account = Account(f"berthtest-{what}-{secrets.token_hex(3)}")
    try:
        yield account
    finally:
        account.remove()
