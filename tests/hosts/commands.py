"""Starting a command, waiting for it no longer than said, and telling what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Failed(RuntimeError):
    """A command that failed, or did not end in time; in its own words."""


def call(*command: str, stdin: str = "", timeout: float = 180, check: bool = True, unbroken: bool = False) -> Ended:
    """
    Run a command in a session of its own, so that a Ctrl-C reaches only us.

    + check: raise Failed where its exit code is not 0
    + unbroken: after a Ctrl-C let it end first; for what leaves half a thing behind when it is killed

    Raises Failed when time is up; the command is killed then.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace", start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise Failed(f"{_short(command)}: did not end within {timeout:g} s") from None
        except BaseException:
            if unbroken:
                _let_end(process, timeout)
            _kill(process)
            raise
    ended = Ended(process.returncode, out, err)
    if check and ended.code:
        raise Failed(f"{_short(command)}: exit code {ended.code}\n{ended.said}")
    return ended


def _let_end(process: subprocess.Popen[str], timeout: float) -> None:
    try:
        process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _short(command: Sequence[str]) -> str:
    return " ".join(command)[:300]


def wait_for(what: str, look: Callable[[], str], seconds: float, pause: float = 0.05) -> None:
    """
    Until `look` has nothing to object any more.

    Raises Failed with what was waited for and the last objection when time is up.
    """
    deadline = time.monotonic() + seconds
    while objection := look():
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:g} s for {what}: {objection}")
        time.sleep(pause)
