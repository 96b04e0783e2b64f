"""Every machine of an inventory runs one image: of an archive, or built on one of them; shipped, also after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgberth.machine.archive import Archive
from pgberth.model.image import Image
from tests.deploy.product import Inventory
from tests.hosts.commands import wait_for
from tests.hosts.fleet import ACCOUNT, BUILT_THERE, TenantContext, inventory, provisioned
from tests.hosts.host import Boot, Host
from tests.hosts.image import BOOKWORM, TRIXIE


@dataclass(frozen=True)
class Place:
    """Podman 5 and podman 4 with a tenant each, after a deploy that was killed and one that ended."""

    berths: tuple[TenantContext, TenantContext]
    fleet: Inventory
    image: Image

    @property
    def image_id(self) -> str:
        return Archive.read(self.image.archive).id


@pytest.fixture(scope="module")
def place(
    module_hosts: Boot, tmp_path_factory: pytest.TempPathFactory, server_archive: Path, measured: dict[str, float]
) -> Iterator[Place]:
    berths = (
        TenantContext("one", module_hosts("five", TRIXIE), 5501),
        TenantContext("two", module_hosts("four", BOOKWORM), 5501),
    )
    fleet = inventory(tmp_path_factory.mktemp("fleet"), berths)
    with fleet.start() as killed:
        wait_for("an archive on its way", lambda: "" if any(shipped(it.host) for it in berths) else "none", 60)
        assert killed.poll() is None
        killed.kill()
    measured["two fresh hosts to a proven tenant each, the image shipped to both"] = provisioned(fleet).seconds
    yield Place(berths, fleet, Image(archive=str(server_archive)))


def shipped(host: Host) -> list[str]:
    """Archives, whole or half, that the machine holds."""
    return host.run("ls /var/cache/pgberth", check=False).out.split()


def test_every_machine_runs_the_image_of_the_archive(place: Place) -> None:
    for context in place.berths:
        assert f"sha256:{context.container()['Image']}" == place.image_id
        assert context.podman("image", "ls", "--quiet", "--no-trunc").split() == [place.image_id]


def test_nothing_of_the_way_there_is_left(place: Place) -> None:
    for context in place.berths:
        assert shipped(context.host) == []
        assert "tar" not in context.host.run("ls /tmp /var/tmp").out


def test_what_is_there_is_not_shipped_again(place: Place) -> None:
    place.fleet.provision().changed_nothing()


def test_an_image_that_lost_its_name_is_named_again_and_not_shipped(place: Place) -> None:
    context = place.berths[0]
    context.podman("untag", place.image_id)
    assert place.fleet.provision().went_well().changes == [f"image is present: {context.host.name}"]
    assert context.podman("image", "ls", "--quiet", "--no-trunc").split() == [place.image_id]
    assert context.host.run(f"podman image exists {place.image.tag}", ACCOUNT, check=False).code == 0


def test_a_machine_that_joins_gets_the_build_of_the_first_and_builds_none(
    place: Place, module_hosts: Boot, tmp_path: Path, measured: dict[str, float]
) -> None:
    first = place.berths[0]
    first.podman("tag", place.image_id, Image().tag)  # as if it had been built there
    late = TenantContext("late", module_hosts("joining", BOOKWORM), 5501)
    fleet = inventory(tmp_path, (first, late), image=BUILT_THERE)
    measured["a machine that joins, the image brought from another"] = (
        fleet.provision(XDG_CACHE_HOME=str(tmp_path)).went_well().seconds
    )
    assert late.container()["Image"] == first.container()["Image"]
    assert [shipped(it.host) for it in (first, late)] == [[], []]
    # Nothing but what the run rendered stays in the cache.
    assert [path.name for path in (tmp_path / "pgberth").iterdir() if path.name != "rendered"] == []
    fleet.provision().changed_nothing()
