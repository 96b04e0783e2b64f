"""
The site the tests deploy to.

As root: an account of this session's own, with an image built once, removed at the end however that comes. As anybody
else: the caller's own account, where podman works for it; the tests' tenants there have names of their own and go at
the end, and tests that need more than that are skipped with the reason.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

import pytest

from tests.deploy.account import ROOT, Account, throwaway
from tests.deploy.product import BUILDING, Inventory, Run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant


@dataclass(eq=False)
class Deployed:
    """
    A site with two tenants that every test may look at and none may harm.

    + two: has every component
    + first: the deploy that found nothing but the machine
    """

    site: Site
    one: Tenant
    two: Tenant
    both: Inventory
    first: Run

    @property
    def tenants(self) -> tuple[Tenant, Tenant]:
        return self.one, self.two


@pytest.fixture(scope="session")
def interruptible() -> Iterator[None]:
    """SIGTERM ends the tests as Ctrl-C does: with everything removed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def deployed(interruptible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The session's site, after its first deploy."""
    places = tmp_path_factory.mktemp("inventories")
    with contextlib.ExitStack() as undo:
        account = undo.enter_context(throwaway("site")) if ROOT else Account(pwd.getpwuid(os.geteuid()).pw_name)
        site = Site(account, places)
        if not ROOT:
            undo.callback(site.remove_all)
        one, two = site.tenant("one"), site.tenant("two", "control_plane", "memory_plugin", "knowledge")
        both = site.inventory(one, two)
        first = both.provision(seconds=BUILDING)
        if not ROOT and first.line("is not ready for"):
            pytest.skip(f"rootless podman does not work for {account.name}: {first.line('is not ready for')}")
        first.went_well()
        yield Deployed(site, one, two, both, first)


@pytest.fixture(scope="session")
def site(deployed: Deployed) -> Site:
    return deployed.site


@pytest.fixture(scope="session")
def root() -> None:
    """Asked for by tests that make accounts of their own."""
    if not ROOT:
        pytest.skip("makes and removes accounts: only root can")
