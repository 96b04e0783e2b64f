"""What every test may ask for by name."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from pgberth.run import current_run

pytest_plugins = ["tests.sampling", "tests.postgres", "tests.crash.table"]


def pytest_configure() -> None:
    """A job in the background of a shell ignores Ctrl-C, and so would all that it starts; tests send it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def new_run() -> Iterator[None]:
    """Each test is a run of its own."""
    current_run.cache_clear()
    yield
    current_run.cache_clear()
