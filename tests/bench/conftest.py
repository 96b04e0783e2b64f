"""The site that the figures are taken on, and the table at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.figures import TAKEN, table
from tests.deploy.account import ROOT, Account, throwaway
from tests.deploy.conftest import interruptible  # noqa: F401 - a fixture
from tests.deploy.product import BUILDING, Inventory, Run, run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant
from tests.hosts.fixtures import host_image, module_hosts, room  # noqa: F401 - fixtures

MANY = 20
# As on a user's machine: Python keeps what it compiled, whatever the shell of this run says.
KEEPS_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True)
class Ground:
    """
    An account with its image built and one tenant on it.

    + alone: has memory_plugin, the small profile and every check green
    """

    site: Site
    alone: Tenant

    def provision(self, inventory: Inventory, *options: str, seconds: float = 300) -> Run:
        return inventory.provision(*options, seconds=seconds, **KEEPS_BYTECODE).went_well()

    def start_up(self) -> float:
        return start_up(self.site.places)


def start_up(place: Path) -> float:
    """Seconds of pyinfra with this machine for an inventory and nothing to do: what no deploy can be faster than."""
    empty = place / "empty.py"
    empty.touch()
    nothing = Inventory(empty).command("provision", "--json")[:-2]
    return run([*nothing, "@local", str(empty)], environment=KEEPS_BYTECODE).went_well().seconds


@pytest.fixture(scope="session")
def ground(interruptible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:  # noqa: F811
    """As root an account of this session's own, removed at the end however that comes; else the caller's own."""
    with contextlib.ExitStack() as undo:
        account = undo.enter_context(throwaway("bench")) if ROOT else Account(pwd.getpwuid(os.geteuid()).pw_name)
        site = Site(account, tmp_path_factory.mktemp("inventories"))
        if not ROOT:
            undo.callback(site.remove_all)
        made = Ground(site, site.tenant("alone"))
        made.provision(site.inventory(made.alone), seconds=BUILDING)
        yield made


@pytest.fixture(scope="session")
def many(ground: Ground) -> list[Tenant]:
    """As many tenants as `MANY`, all of them running and as their inventory wants them; the first is `alone`."""
    tenants = [ground.alone, *(ground.site.tenant(f"many{number}") for number in range(1, MANY))]
    ground.provision(ground.site.inventory(*tenants), "--data", "smoke=false")
    return tenants


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TAKEN:
        terminalreporter.section("figures")
        for line in table(TAKEN):
            terminalreporter.write_line(line)
