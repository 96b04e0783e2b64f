"""Kernel locks between the runs of one machine: the death of whoever holds one frees it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

PLACE = Path("/run/pgberth-test-hosts")


@contextlib.contextmanager
def held(name: str) -> Iterator[None]:
    """Only one run of this machine does it at a time; waits for the other."""
    PLACE.mkdir(mode=0o700, exist_ok=True)
    with opened(PLACE / f"{name}.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def taken(path: Path) -> bool:
    """Whether somebody who lives holds the lock."""
    try:
        with opened(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # its directory went this moment, with its run
        return False
    except BlockingIOError:
        return True
    return False
