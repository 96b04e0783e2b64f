"""Processes as /proc tells them: whose they are, what they were started with, and how to wait for one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


@dataclass(frozen=True)
class Process:
    """+ argv: as started, joined by blanks; session: the leader's pid, one for each command of a deploy"""

    pid: int
    session: int
    argv: str

    @property
    def program(self) -> str:
        return self.argv.split(" ", 1)[0].rpartition("/")[2]

    @property
    def monitors(self) -> str | None:
        """The container whose monitor this is, None where it is no monitor."""
        words = self.argv.split()
        return words[words.index("-n") + 1] if self.program == "conmon" and "-n" in words else None


def processes(uid: int) -> Iterator[Process]:
    """Every process of a user, zombies left out."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            # A process may end while it is being looked at.
            with contextlib.suppress(OSError):
                if place.stat().st_uid == uid and (argv := _argv(place)):
                    yield Process(int(place.name), _session(place), argv)


def _argv(place: Path) -> str:
    return (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def _session(place: Path) -> int:
    # The second field is the program's name in parentheses, blanks and all.
    return int((place / "stat").read_text().rpartition(")")[2].split()[3])


def kill(pid: int) -> None:
    """kill -9, whether it is still there or not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def eventually(look: Callable[[], Found], seconds: float = 60, pause: float = 0.02) -> Found:
    """The first answer that is not empty; the last one when time is up."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(pause)
    return found
