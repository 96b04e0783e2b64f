"""The site that the figures are taken on, and the table at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.bench.figures import TAKEN, table
from tests.deploy.account import ROOT, Account, throwaway
from tests.deploy.conftest import interruptible  # noqa: F401 - a fixture
from tests.deploy.product import BUILDING, Inventory, Run, run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant

MANY = 20
# As on a user's machine: Python keeps what it compiled, whatever the shell of this run says.
_KEEPS_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True)
class Ground:
    """
    An account with its image built and one tenant on it.

    + alone: has memory_plugin, the small profile and every check green
    """

    site: Site
    alone: Tenant

    def provision(self, inventory: Inventory, *options: str, seconds: float = 300) -> Run:
        return inventory.provision(*options, seconds=seconds, **_KEEPS_BYTECODE).went_well()

    def start_up(self) -> Run:
        """pyinfra with this machine for an inventory and nothing to do: what no deploy can be faster than."""
        empty = self.site.places / "empty.py"
        empty.touch()
        nothing = Inventory(empty).command("provision", "--json")[:-2]
        return run([*nothing, "@local", str(empty)], environment=_KEEPS_BYTECODE).went_well()


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
