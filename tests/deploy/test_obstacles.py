"""What stands in a deploy's way is named and left as it is; what does not depend on it goes on."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.deploy.product import REPO
from tests.deploy.site import Site, free_port
from tests.deploy.tenant import Tenant

IMAGE = "localhost/pgberth:18-forky"


@pytest.fixture
def tenant(site: Site) -> Iterator[Tenant]:
    """A tenant that is nowhere yet."""
    tenant = site.tenant("hindered")
    yield tenant
    site.remove(tenant)


@pytest.fixture(scope="module")
def neighbour(site: Site) -> Iterator[Tenant]:
    """A tenant that stands, to be left in peace."""
    tenant = site.tenant("neighbour")
    site.inventory(tenant).provision().went_well()
    yield tenant
    site.remove(tenant)


@contextlib.contextmanager
def listening(port: int) -> Iterator[None]:
    """A stranger on a port of loopback."""
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        yield


def test_a_taken_port_is_named_stops_that_tenant_alone_and_heals(site: Site, tenant: Tenant) -> None:
    other = site.tenant("unhindered")
    inventory = site.inventory(tenant, other)
    with listening(tenant.port):
        run = inventory.provision().failed()
    assert run.line(f"{tenant.name}: port 127.0.0.1:{tenant.port} is taken by "), run.err
    assert run.line("HINT: nothing was done; stop it, or give the tenant another port"), run.err
    assert site.containers(tenant) == []
    assert run.line(other.name, "passed"), run.err
    assert run.results["failed_hosts"] == [tenant.name]

    run = inventory.provision().went_well()
    assert run.hosts_changed() == {tenant.name}
    assert site.leftovers(tenant) == []
    inventory.provision().changed_nothing()
    site.remove(other)


def test_the_process_on_a_taken_port_is_named_where_it_is_the_accounts_own(site: Site, tenant: Tenant) -> None:
    listen = f"import socket, time; s = socket.create_server(('127.0.0.1', {tenant.port})); print(); time.sleep(60)"
    with site.account.start("python3", "-uc", listen, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        run = site.inventory(tenant).provision().failed()
        stranger.kill()
    assert run.line(f"port 127.0.0.1:{tenant.port} is taken by pid {stranger.pid} (python3)"), run.err


def test_another_container_of_the_name_is_refused_and_left_alone(site: Site, tenant: Tenant) -> None:
    foreign = ["run", "--detach", f"--name={tenant.name}", "--network=none", "--entrypoint=sleep", IMAGE, "600"]
    site.account.podman(*foreign)
    before = tenant.container()
    run = site.inventory(tenant).provision().failed()
    assert run.line(f"{tenant.name}: container '{tenant.name}' exists and is not this tenant's"), run.err
    after = tenant.container()
    assert (after["Id"], after["State"]["Pid"]) == (before["Id"], before["State"]["Pid"])
    site.account.podman("rm", "--force", "--time", "0", tenant.name)
    site.inventory(tenant).provision().went_well()


def test_a_second_server_on_the_volume_ends_at_once_and_names_the_holder(site: Site, neighbour: Tenant) -> None:
    own = ("--name=", "--publish=", "--detach", "--hostname=", "--label=")
    command = neighbour.container()["Config"]["CreateCommand"][1:]  # without "podman", and with its own options
    words = [word for word in command if not word.startswith(own)]
    words.insert(words.index("run") + 1, "--rm")
    ended = site.account.podman(*words, check=False)
    assert ended.code == 75
    assert f"the volume is in use by container {neighbour.name}; not starting" in ended.err
    with neighbour.connect() as app:
        assert app.execute("SELECT 1").fetchone() == (1,)


def test_a_tenant_taken_out_of_the_inventory_is_named_and_never_touched(site: Site, neighbour: Tenant) -> None:
    stays = site.tenant("stays")
    both, one = site.inventory(stays, neighbour), site.inventory(stays)
    both.provision().went_well()
    before = neighbour.container()["Id"], neighbour.files()
    one.provision().changed_nothing()
    run = one.status().went_well()
    kept = run.line(f"unmanaged tenant '{neighbour.name}'")
    assert all(thing in kept for thing in ("container", "directory", f"volume:{neighbour.volume}", "kept as it is")), (
        kept
    )
    assert (neighbour.container()["Id"], neighbour.files()) == before
    with neighbour.connect() as app:
        assert app.execute("SELECT 1").fetchone() == (1,)
    site.remove(stays)


def test_a_difference_that_needs_a_new_container_waits_for_a_recycle(site: Site, neighbour: Tenant) -> None:
    moved = replace(neighbour, port=free_port())
    inventory = site.inventory(moved)
    before = neighbour.container()["Id"]
    run = inventory.provision().changed_nothing()
    pending = f"{neighbour.name}: pending: recycle (port {neighbour.port} -> {moved.port})"
    assert run.line(pending), run.err
    assert inventory.status().went_well().line(pending)
    assert neighbour.container()["Id"] == before
    # What is told of it is where it is, not where it will be.
    assert f":{neighbour.port}/" in inventory.local("url", "--tenant", neighbour.name).went_well().out
    inventory.verify().went_well()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the product, for somebody to edit."""
    for part in ("deploy", "templates"):
        shutil.copytree(REPO / part, tmp_path / part)
    return tmp_path


def test_an_applied_migration_that_was_edited_stops_the_tenant_with_both_hashes(
    site: Site, neighbour: Tenant, tree: Path
) -> None:
    up = tree / "templates/sql/memory_plugin/0001_memory_v2.up.sql.j2"
    up.write_text(up.read_text() + "\n-- an afterthought\n")
    ledger = "SELECT string_agg(e::text, '' ORDER BY id) FROM memory_ledger.event AS e"
    before = neighbour.superuser(ledger)
    edited = site.inventory(neighbour, tree=tree)
    run = edited.provision().failed()
    told = run.line(f"{neighbour.name}: memory_plugin 0001_memory_v2 was edited after it was applied")
    applied, in_file = re.findall(r"[0-9a-f]{64}", told)
    query = "SELECT rendered_sha256 FROM memory_ledger.head WHERE component = 'memory_plugin' AND version = '0001'"
    assert neighbour.superuser(query) == applied != in_file
    assert edited.verify().failed().line(f"{neighbour.name}: RED ledger: ", applied, in_file)
    assert neighbour.superuser(ledger) == before
    site.inventory(neighbour).provision().changed_nothing()


def test_an_applied_migration_that_is_gone_stops_the_tenant(site: Site, neighbour: Tenant, tree: Path) -> None:
    for twin in ("up", "down", "verify"):
        (tree / f"templates/sql/memory_plugin/0001_memory_v2.{twin}.sql.j2").unlink()
    for twin in ("up", "verify"):
        (tree / f"templates/sql/memory_plugin/R0_grants.{twin}.sql.j2").unlink()
    run = site.inventory(neighbour, tree=tree).provision().failed()
    assert run.line(f"{neighbour.name}: memory_plugin 0001_memory_v2 is applied, these files end at 0000"), run.err


def test_status_tells_what_is_there(site: Site, neighbour: Tenant) -> None:
    absent = site.tenant("absent")
    inventory = site.inventory(neighbour, absent)
    run = inventory.status().went_well()
    assert run.line(neighbour.name, "canary", str(neighbour.port), "memory_plugin 0001", "running g1"), run.err
    assert run.line(absent.name, "production", "absent"), run.err
    assert inventory.status().changed_nothing()

    neighbour.superuser("DROP INDEX memory_plugin.idx_memory_records_fts; GRANT CREATE ON SCHEMA public TO memory_app")
    run = inventory.status().went_well()
    assert run.line(f"{neighbour.name}: drift: ", "idx_memory_records_fts", "is missing"), run.err
    assert run.line(f"{neighbour.name}: RED rights: ", "schema public has CREATE for memory_app"), run.err

    site.account.podman("stop", neighbour.name)
    assert inventory.status().went_well().line(neighbour.name, "exited g1")
    site.inventory(neighbour).provision().went_well()
    assert site.containers(absent) == []
