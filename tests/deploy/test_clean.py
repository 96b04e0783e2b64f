"""What the local inventory made can be removed, all of it, and only when that was meant. On an account of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.account import Account, throwaway
from tests.deploy.processes import eventually, processes
from tests.deploy.product import Inventory
from tests.deploy.site import IMAGE, Site, give_image
from tests.deploy.tenant import Tenant


@pytest.fixture(scope="module")
def own(root: None, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Another account: prepared by a deploy killed while it built the image, and then given the session's image."""
    with throwaway("clean") as account:
        own = Site(account, tmp_path_factory.mktemp("clean"))
        with own.inventory(own.tenant("first")).start() as deploy:
            assert eventually(lambda: account.exists and builds_an_image(account), 180)
            deploy.kill()
            own.kill_commands()
        give_image(site.account, account)
        yield own


def builds_an_image(account: Account) -> bool:
    # The program itself, at work: its name also stands in the script that every command on the way to it carries.
    return any("mmdebstrap" in " ".join(process.argv.split()[:2]) for process in processes(account.uid))


@pytest.fixture(scope="module")
def tenant(own: Site) -> Tenant:
    return own.tenant("only")


@pytest.fixture(scope="module")
def inventory(own: Site, tenant: Tenant) -> Inventory:
    inventory = own.inventory(tenant)
    inventory.provision().went_well()
    return inventory


def test_a_deploy_killed_while_it_builds_the_image_is_finished_by_the_next(own: Site, inventory: Inventory) -> None:
    inventory.provision().changed_nothing()
    assert own.stray_processes() == []


def test_an_image_that_is_gone_is_named_and_nothing_is_lost(
    site: Site, own: Site, tenant: Tenant, inventory: Inventory
) -> None:
    identity = tenant.superuser("SELECT system_identifier FROM pg_control_system()")
    own.account.podman("rm", "--force", tenant.name)
    own.account.podman("image", "rm", IMAGE)
    fresh = own.tenant("fresh")
    both = own.inventory(tenant, fresh)
    run = both.provision("--limit", tenant.name, "--limit", fresh.name).failed()
    for refused in (tenant, fresh):
        assert run.line(f"{refused.name}: image sha256:", "is not in podman's store any more"), run.err
        assert own.containers(refused) == []
    assert run.line("HINT: run the deploy without --limit; it builds or fetches the image again"), run.err
    assert own.volumes(tenant) == [tenant.volume]
    assert own.volumes(fresh) == []
    give_image(site.account, own.account)
    inventory.provision().went_well()
    assert tenant.superuser("SELECT system_identifier FROM pg_control_system()") == identity


def test_clean_asks_and_takes_only_yes_for_an_answer(tenant: Tenant, inventory: Inventory) -> None:
    for answer in ("no\n", "\n", "y\n", ""):
        run = inventory.local("clean", stdin=answer).failed()
        assert run.line("This deletes the data of", tenant.name), run.said
        assert run.line("nothing was removed"), run.said
    with tenant.connect() as app:
        assert app.execute("SELECT 1").fetchone() == (1,)
    inventory.provision().changed_nothing()


def test_unasked_the_data_of_another_inventorys_tenant_stays(own: Site, tenant: Tenant, inventory: Inventory) -> None:
    run = own.inventory(own.tenant("another")).local("clean", "--yes").failed()
    assert run.line(f"{own.account.name}: tenant {tenant.name} has data here"), run.said
    assert run.line("HINT: nothing was removed"), run.said
    inventory.provision().changed_nothing()


def test_clean_leaves_nothing(own: Site, tenant: Tenant, inventory: Inventory) -> None:
    uid, home = own.account.uid, own.account.home
    inventory.local("clean", "--yes").went_well()
    assert not own.account.exists
    assert not home.exists()
    assert not Path(f"/run/user/{uid}").exists()
    assert list(processes(uid)) == []
    assert own.account.name not in Path("/etc/subuid").read_text() + Path("/etc/subgid").read_text()
    assert inventory.local("clean", "--yes").went_well().line("nothing to clean")
