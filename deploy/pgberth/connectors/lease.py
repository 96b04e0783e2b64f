"""
A lock on a machine that this process holds: how it keeps the lock, and how it learns that the lock is lost.

A connection can die without a message, so the machine releases the lock after 60 s without a heartbeat. This process
stops working long before that: what it has sent by then arrives before the machine gives up the connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from pyinfra.connectors.util import CommandOutput, OutputLine

from pgberth.model.problems import Problem

BEAT = 5  # seconds between two heartbeats
STALE = 20  # seconds without one, after which this process no longer relies on the lock: it was suspended
LAPSE = 60  # seconds without one, after which the machine releases the lock; more than STALE + ssh_pool.SILENT


class LockLease:
    """
    A tenant's lock that this process holds.

    + write: sends bytes to the command that holds the lock on the machine. Raises OSError where it cannot
    + alive: whether that command still runs, as far as this side knows
    """

    def __init__(self, tenant: str, write: Callable[[bytes], object], alive: Callable[[], bool]):
        self.tenant = tenant
        self._write = write
        self._alive = alive
        self._last_beat = _now()
        gevent.spawn(self._beat)

    def lapsed(self) -> bool:
        """Whether another operator may have the lock by now."""
        return not self._alive() or _now() - self._last_beat > STALE

    @property
    def problem(self) -> Problem:
        fact = f"{self.tenant}: its lock is lost: the machine got no heartbeat, or the command that held it has ended"
        return Problem(fact, "run the deploy again; runbooks/tenant-is-busy.md")

    def _beat(self) -> None:
        while not self.lapsed():
            try:
                self._write(b".")
            except OSError:
                return  # the tenant's next command reports it
            self._last_beat = _now()
            gevent.sleep(BEAT)


def _now() -> float:
    """Seconds, with the time that this machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()


def failed_output(problem: Problem) -> CommandOutput:
    """A problem as the output of the command that could not run."""
    return CommandOutput([OutputLine("stderr", line) for line in str(problem).splitlines()])
