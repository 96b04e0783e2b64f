"""Hosts with tenants on them, one of each suite: made once for all tests that need no more than that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.deploy.product import Inventory
from tests.hosts.fixtures import factory
from tests.hosts.fleet import ACCOUNT, BUILT_THERE, TenantContext, inventory, provisioned
from tests.hosts.image import BOOKWORM, TRIXIE
from tests.hosts.room import Room

PODMAN = {TRIXIE: "podman 5, Quadlet", BOOKWORM: "podman 4.3, plain units"}


@dataclass(frozen=True)
class Place:
    """A host with two tenants after its first deploy; every test leaves both running."""

    suite: str
    berths: tuple[TenantContext, TenantContext]
    fleet: Inventory

    def units(self, name: str) -> list[str]:
        """Files below the account's home by which a systemd starts the tenant."""
        found = f"find .config -name 'pgberth-{name}.*' | sort"
        return self.berths[0].host.run(found, ACCOUNT).out.split()

    def unit_file(self, name: str) -> str:
        place = ".config/containers/systemd" if self.suite == TRIXIE else ".config/systemd/user"
        return f"{place}/pgberth-{name}.{'container' if self.suite == TRIXIE else 'service'}"

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.berths[0].host.run(f"systemctl --user {' '.join(words)}", ACCOUNT, check=check).out.strip()


@pytest.fixture(scope="session", params=list(PODMAN), ids=list(PODMAN.values()))
def place(
    request: pytest.FixtureRequest, room: Room, tmp_path_factory: pytest.TempPathFactory, measured: dict[str, float]
) -> Iterator[Place]:
    suite = request.param
    for boot in factory(room):
        host = boot(f"first{suite}", suite)
        one = TenantContext("one", host, 5501, fields="components=ALL")
        two = TenantContext("two", host, 5502, ring="production")
        # One of them builds its image as the product does by default; once is enough.
        fleet = inventory(tmp_path_factory.mktemp("fleet"), (one, two), image=BUILT_THERE if suite == TRIXIE else "")
        how = "the image's build included" if suite == TRIXIE else "the image from an archive"
        measured[f"{suite}: fresh host to two proven tenants, {how}"] = provisioned(fleet).seconds
        yield Place(suite, (one, two), fleet)
