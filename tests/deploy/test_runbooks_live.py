"""Runbook pages, followed to the letter: each command is run, and prints what its page says."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from tests.deploy.account import ROOT
from tests.deploy.conftest import Deployed
from tests.deploy.product import Inventory, run
from tests.deploy.tenant import Tenant
from tests.runbook import fitted, missing, page


def follow(name: str, numbers: tuple[int, ...], tenant: Tenant, inventory: Inventory, **given: object) -> None:
    """
    Run these steps of a page on a tenant of the ring `canary`, in this order.

    + given: word that the page leaves to its reader, such as PID -> what stands for it
    """
    every = {step.number: step for step in page(name).steps}
    here = partial(fitted, tenant=tenant.name, port=tenant.port, account=tenant.account.name, root=ROOT)
    for number in numbers:
        (command,) = map(here, every[number].commands)
        for word, value in given.items():
            command = re.sub(rf"\b{word}\b", str(value), command)
        ended = run(["sh", "-c", command], environment={"INVENTORY": str(inventory.path)})
        absent = missing(map(here, every[number].prints), ended.said)
        assert (ended.code, absent) == (0, []), f"step {number} of {name}: {command}\n{ended.said}"


def test_looking_at_a_tenant_shows_what_the_page_shows_and_changes_nothing(deployed: Deployed) -> None:
    deployed.both.verify()  # remembers what a fresh run's catalogue looks like, once
    before = deployed.one.files()
    follow("look-at-a-tenant", tuple(range(1, 9)), deployed.one, deployed.both)
    assert deployed.one.files() == before


def test_the_page_about_red_checks_leads_to_green_ones(deployed: Deployed) -> None:
    deployed.one.superuser("ALTER ROLE memory_app_a CREATEDB")
    deployed.both.verify().failed()
    follow("check-is-red", (2, 6), deployed.one, deployed.both)
    follow("check-is-red", (1,), deployed.one, deployed.both)


def test_a_pending_change_is_applied_as_its_page_says(deployed: Deployed) -> None:
    site = deployed.site
    before, port = site.tenant("pending"), site.tenant("unused").port
    site.inventory(before).provision().went_well()
    after = replace(before, port=port)
    desired = site.inventory(after)
    desired.provision().went_well()
    follow("apply-a-settings-change", (1, 2, 3, 5, 6), after, desired)
    assert not desired.verify().went_well().line("pending: recycle")
    with after.connect() as app:
        assert app.execute("SELECT 1").fetchone() == (1,)
