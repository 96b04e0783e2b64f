"""
A lock on a machine that is held from here: how it stays held, and how it is known to be ours no longer.

The machine takes a holder that has fallen silent for gone, since a connection can die without a word. The holder in
turn stops working long before that: what it has sent by then arrives while its connection is not given up yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from pyinfra.connectors.util import CommandOutput, OutputLine

from pgberth.model.problems import Problem

BEAT = 5  # seconds from one sign of life to the next
STALE = 20  # seconds without one, after which the holder no longer counts on the lock: it was asleep
LAPSE = 60  # seconds without one, after which the machine lets others have the lock; more than STALE + ssh.SILENT


class LockLease:
    """
    A lock of a tenant that this process holds.

    + write: sends bytes to the holder on the machine. Raises OSError where it cannot
    + alive: whether the holder still runs, as far as this side knows
    """

    def __init__(self, tenant: str, write: Callable[[bytes], object], alive: Callable[[], bool]):
        self.tenant = tenant
        self._write = write
        self._alive = alive
        self._beaten = _now()
        gevent.spawn(self._beat)

    def lapsed(self) -> bool:
        """Whether another operator may hold the lock by now."""
        return not self._alive() or _now() - self._beaten > STALE

    @property
    def problem(self) -> Problem:
        fact = f"{self.tenant}: its lock is lost: the machine heard nothing from this run, or somebody ended the holder"
        return Problem(fact, "run the deploy again; runbooks/tenant-is-busy.md")

    def _beat(self) -> None:
        while not self.lapsed():
            try:
                self._write(b".")
            except OSError:
                return  # the next command of this tenant finds out
            self._beaten = _now()
            gevent.sleep(BEAT)


def _now() -> float:
    """Seconds, those included that this machine was asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()


def said(problem: Problem) -> CommandOutput:
    """A problem as the output of the command that could not be run."""
    return CommandOutput([OutputLine("stderr", line) for line in str(problem).splitlines()])
