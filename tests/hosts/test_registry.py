"""Images of a real registry: by digest, and by a tag that is asked for once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.deploy.product import Inventory
from tests.hosts import needs, registry
from tests.hosts.fleet import TenantContext, inventory, provisioned
from tests.hosts.host import Boot
from tests.hosts.image import BOOKWORM, TRIXIE
from tests.hosts.registry import Registry, without_labels
from tests.hosts.room import Room

NAME = "memory/postgres:18"
NOWHERE = "sha256:" + "ab" * 32


@dataclass(frozen=True)
class Place:
    """
    A registry whose tag moved after the first of two machines had asked for it.

    + old, new: what the tag was, and is; the new one has no labels of ours
    """

    berths: tuple[TenantContext, TenantContext]
    directory: Path
    registry: Registry
    old: str
    new: str

    def fleet(self, *berths: TenantContext, name: str = NAME, digest: str = "") -> Inventory:
        told = f", digest={digest!r}" if digest else ""
        image = f"Image(name={self.registry.address + '/' + name!r}{told})"
        return inventory(self.directory, berths or self.berths, image=image)


@pytest.fixture(scope="module")
def place(
    room: Room, module_hosts: Boot, tmp_path_factory: pytest.TempPathFactory, server_archive: Path
) -> Iterator[Place]:
    try:
        registry.provide()
    except needs.Unfit as unfit:
        pytest.skip(str(unfit))
    directory = tmp_path_factory.mktemp("registry")
    one, two = (
        TenantContext("one", module_hosts("five", TRIXIE), 5501),
        TenantContext("two", module_hosts("four", BOOKWORM), 5501),
    )
    with registry.running(directory, str(room.subnet.network_address + 1)) as running:
        for context in (one, two):
            running.trusted_by(context.host)
        old = running.push(server_archive, directory, NAME)
        place = Place((one, two), directory, running, old, "")
        provisioned(place.fleet(one))
        new = running.push(without_labels(server_archive, directory / "strange.tar"), directory, NAME)
        yield replace(place, new=new)


def recorded(context: TenantContext) -> list[str]:
    """The digest of each image that the machine keeps a record of."""
    kept = context.host.run("cat ~pgberth/.local/share/pgberth/machine.json").out.splitlines()
    return [line.split('"')[3] for line in kept if '"digest"' in line]


def test_a_machine_that_joins_gets_what_the_tag_was_when_it_was_asked_for(place: Place) -> None:
    assert place.old != place.new
    assert place.fleet().provision().went_well().hosts_changed() == {"four", "two"}
    assert [recorded(context) for context in place.berths] == [[place.old], [place.old]]
    assert len({context.container()["Image"] for context in place.berths}) == 1


def test_the_registry_is_not_asked_again(place: Place) -> None:
    with place.registry.silent():
        place.fleet().provision().changed_nothing()


def test_an_image_that_was_lost_is_brought_back_by_its_digest(place: Place) -> None:
    one, _ = place.berths
    one.podman("untag", recorded_tag(one))
    assert place.fleet().provision().went_well().changes == [f"image is present: {one.host.name}"]
    assert recorded(one) == [place.old]


def recorded_tag(context: TenantContext) -> str:
    names = context.podman("image", "ls", "--format={{.Repository}}:{{.Tag}}").split()
    return next(name for name in names if name.startswith("localhost/pgberth-registry:"))


def test_a_digest_that_nobody_has_is_named_and_no_tenant_is_touched(place: Place) -> None:
    run = place.fleet(digest=NOWHERE).provision().failed()
    desired = f"{place.registry.address}/memory/postgres@{NOWHERE} cannot be pulled"
    assert run.line("five: image", desired), run.err
    assert run.line("HINT", "must have exactly this image"), run.err
    assert all(context.running() for context in place.berths)


def test_an_image_of_another_architecture_is_refused_before_it_is_used(place: Place, server_archive: Path) -> None:
    strange = without_labels(server_archive, place.directory / "strange.tar", architecture="riscv64")
    place.registry.push(strange, place.directory, "memory/strange:18")
    one, _ = place.berths
    run = place.fleet(one, name="memory/strange:18").provision().failed()
    assert run.line("five: image", "memory/strange:18 is for riscv64, this machine is"), run.err
    assert "strange" not in one.podman("image", "ls")
    assert one.running()


def test_the_inventory_moves_on_by_its_digest(place: Place) -> None:
    run = place.fleet(digest=place.new).provision().went_well()
    assert run.hosts_changed() == {"five", "four"}
    assert run.line("one: pending: recycle (image"), run.err
    assert [recorded(context) for context in place.berths] == [[place.new], [place.new]]
    place.fleet(digest=place.new).provision().changed_nothing()
