"""The hosts for the tests of the hosts themselves, and what they took."""

from __future__ import annotations

import pytest

from tests.hosts.fixtures import host_image, hosts, module_hosts, room, server_archive
from tests.hosts.standing import place

__all__ = ["host_image", "hosts", "measured", "module_hosts", "place", "room", "server_archive"]

_MEASURED = pytest.StashKey[dict[str, float]]()


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> dict[str, float]:
    """What took how many seconds, told at the end of the run."""
    return request.config.stash.setdefault(_MEASURED, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if found := config.stash.get(_MEASURED, {}):
        terminalreporter.section("throwaway hosts")
        for what, seconds in found.items():
            terminalreporter.line(f"{seconds:7.2f} s  {what}")
