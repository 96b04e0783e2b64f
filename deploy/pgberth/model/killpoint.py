"""A hook for crash tests: a named step at which the process dies as by `kill -9`."""

from __future__ import annotations

import os
import signal

VARIABLE = "PGBERTH_KILL_AT"


def killpoint(step: str) -> None:
    """
    Die here if a test asked for it.

    Only tests set the variable. It is SIGKILL and not an exception, since the product must survive a death that runs no
    `finally`.
    """
    if os.environ.get(VARIABLE) == step:
        os.kill(os.getpid(), signal.SIGKILL)
