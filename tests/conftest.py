"""What every test may ask for by name."""

from __future__ import annotations

import signal

pytest_plugins = ["tests.postgres", "tests.crash.table"]


def pytest_configure() -> None:
    """A job in the background of a shell ignores Ctrl-C, and so would all that it starts; tests send it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
