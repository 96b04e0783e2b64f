"""
Whatever lies in a tenant's volume, no verb changes a byte of it unless it is shown to be the tenant's data.

A volume without a marker is kept and named, and the next generation stands beside it. Any other doubt is a refusal.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgberth.model import layout
from tests.deploy.product import Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant
from tests.volume import cluster, tree_hash

# Every verb but `provision` and `status`, with what it is told. {name} is the tenant's.
VERBS: dict[str, str] = {
    "verify": "",
    "migrate": "",
    "recycle": "",
    "stage": "--data stage=B",
    "retire": "--limit {name} --data tenant={name}",
    "register_model": "--data model=tests --data hash=1e5 --data dimension=8",
    "rotate": "--data drain=0",
    "move": "",
    "backfill": "--data tenant={name} --data mode=apply",
    "erase": "--data tenant={name} --data subject=task_run:00000000-0000-4000-8000-000000000001 --data reason=tried",
}
DOES_ITS_WORK = {"retire"}  # on a stopped tenant: it removes a container, and no volume


@dataclass(frozen=True)
class Kept:
    """A tenant that is stopped, and a copy of its volume as it was left."""

    tenant: Tenant
    inventory: Inventory
    copy: Path

    @property
    def place(self) -> Path:
        return place_of(self.tenant)

    def restore(self) -> None:
        """The volume as it was left."""
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self.tenant.account.run("cp", "-a", f"{self.copy}/.", str(self.place))


def place_of(tenant: Tenant, generation: int = 1) -> Path:
    volumes = tenant.account.home / layout.VOLUMES
    return volumes / layout.volume(tenant.name, generation) / "_data"


@pytest.fixture(scope="module")
def kept(site: Site) -> Iterator[Kept]:
    tenant = site.tenant("kept", "control_plane", "memory_plugin", "knowledge")
    inventory = site.inventory(tenant)
    inventory.provision().went_well()
    site.account.podman("stop", tenant.name)
    copy = site.account.home / f"{tenant.name}-copy"
    site.account.run("cp", "-a", str(place_of(tenant)), str(copy))
    yield Kept(tenant, inventory, copy)
    site.account.run("rm", "-rf", str(copy))
    site.remove(tenant)


def marker(**changes: object) -> Callable[[Path], object]:
    def rewrite(place: Path) -> None:
        file = place / layout.MARKER
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}) + "\n")

    return rewrite


def _another_cluster(place: Path) -> None:
    shutil.rmtree(place / "18")
    cluster(place)


def _linked(place: Path) -> None:
    (place / "18").rename(place / "17")
    (place / "18").symlink_to("17")


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "another tenant's cluster under its marker": (_another_cluster, "holds the cluster "),
    "another tenant's marker": (marker(tenant="globex"), "was initialised for another: "),
    "another generation's marker": (marker(generation=7), "has the marker of generation 7"),
    "no marker": (lambda place: (place / layout.MARKER).unlink(), "has no marker"),
    "half a marker": (
        lambda place: (place / layout.MARKER).write_text('{"tenant'),
        "has a marker that is not understood",
    ),
    "a link in the place of its data": (_linked, "has a link in the place of 18"),
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("what", ODD)
def test_a_stopped_tenant_whose_data_is_in_doubt_is_started_by_no_verb(kept: Kept, what: str) -> None:
    plant, why = ODD[what]
    name = kept.tenant.name
    kept.restore()
    plant(kept.place)
    before = tree_hash(kept.place)
    run = kept.inventory.provision().failed()
    assert run.line(f"{name}: its volume {kept.tenant.volume} {why}"), run.err
    assert run.line("HINT: nothing was started; runbooks/foreign-volume.md"), run.err
    for verb, told in VERBS.items():
        run = kept.inventory.verb(verb, *told.format(name=name).split())
        assert "Traceback" not in run.said, run.said
        assert (run.code == 0) is (verb in DOES_ITS_WORK), run.said
    kept.inventory.status().went_well()
    assert name not in kept.tenant.account.podman("ps", "--format", "{{.Names}}").out.split()
    assert tree_hash(kept.place) == before
    kept.restore()
    kept.inventory.provision().went_well()
    kept.tenant.account.podman("stop", name)


def test_nothing_is_sent_to_a_running_server_whose_data_is_in_doubt(site: Site, kept: Kept) -> None:
    tenant, inventory = kept.tenant, kept.inventory
    kept.restore()
    inventory.provision().went_well()
    file = kept.place / layout.MARKER
    its_own = file.read_text()
    # What every provision would repair, and most verbs, too.
    tenant.superuser("ALTER ROLE memory_app_a PASSWORD 'of-another'")
    told = "SELECT string_agg(rolname || rolpassword, ',' ORDER BY 1) FROM pg_authid"
    before, container = tenant.superuser(told), tenant.container()["Id"]
    marker(system_identifier="8")(kept.place)
    for verb, options in {"provision": "", **VERBS}.items():
        run = inventory.verb(verb, *options.format(name=tenant.name).split()).failed()
        assert run.line(tenant.name, "holds the cluster"), f"{verb}: {run.err}"
        assert run.line("HINT: ", "runbooks/"), run.err
    assert (tenant.superuser(told), tenant.container()["Id"]) == (before, container)
    file.write_text(its_own)
    inventory.provision().went_well()
    assert tenant.superuser(told) != before
    site.account.podman("stop", tenant.name)


def test_a_cluster_that_lost_its_marker_and_its_spec_file_is_kept_and_named(site: Site) -> None:
    tenant = site.tenant("lost")
    inventory = site.inventory(tenant)
    inventory.provision().went_well()
    site.account.podman("rm", "--force", "--time", "10", tenant.name)
    place = place_of(tenant)
    its_own = (place / layout.MARKER).read_text()
    (place / layout.MARKER).unlink()
    (tenant.directory / "spec.json").unlink()
    before = tree_hash(place)

    run = inventory.provision().went_well()
    assert run.line(f"{tenant.name}: volume {tenant.volume} has no marker, so it is kept as it is"), run.err
    named = (
        f"volume {tenant.volume} is kept beside the live {layout.volume(tenant.name, 2)}; runbooks/foreign-volume.md"
    )
    assert run.line(named), run.err
    for verb in ("recycle", "rotate", "status", "retire"):
        run = inventory.verb(verb, *VERBS.get(verb, "").format(name=tenant.name).split()).went_well()
        assert verb != "status" or run.line(named), run.err
    assert sorted(site.volumes(tenant)) == [layout.volume(tenant.name, number) for number in (1, 2)]
    assert tree_hash(place) == before

    # What the page says, for a cluster that is known to be the tenant's.
    (place / layout.MARKER).write_text(its_own)
    spec = tenant.directory / "spec.json"
    spec.write_text(spec.read_text().replace('"generation": 2', '"generation": 1'))
    assert inventory.provision().went_well().line(f"volume {layout.volume(tenant.name, 2)} is kept beside the live")
    assert (
        tenant.superuser("SELECT system_identifier FROM pg_control_system()")
        == json.loads(its_own)["system_identifier"]
    )
    site.remove(tenant)
