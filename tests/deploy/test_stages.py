"""The gates before production, what an older installation left, and a tenant that leaves and comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.product import Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant
from tests.deploy.test_recycle import newest_receipt

OLD = """\\connect memory
CREATE TABLE public.memory_namespaces (name text PRIMARY KEY, kind text NOT NULL);
CREATE TABLE public.memory_records (id uuid PRIMARY KEY, namespace text NOT NULL, content text NOT NULL,
  kind text NOT NULL, source text NOT NULL, created_at timestamptz NOT NULL);
INSERT INTO public.memory_namespaces VALUES ('team:old', 'team');
INSERT INTO public.memory_records SELECT gen_random_uuid(), 'team:old', 'memory ' || n, 'fact', 'agent',
  timestamptz '2025-01-01 00:00:00Z' FROM generate_series(1, 7) AS n;
"""


@pytest.fixture(scope="module")
def canary(site: Site) -> Iterator[Tenant]:
    tenant = site.tenant("canary")
    yield tenant
    site.remove(tenant)


@pytest.fixture(scope="module")
def inventory(site: Site, canary: Tenant) -> Inventory:
    made = site.inventory(canary)
    made.provision().went_well()
    return made


def stage(inventory: Inventory, letter: str) -> None:
    inventory.verb("stage", "--limit", "canary", "--data", f"stage={letter}", seconds=400).went_well()


def test_stage_a_tries_throwaway_tenants_and_leaves_nothing_of_them(
    site: Site, canary: Tenant, inventory: Inventory
) -> None:
    stage(inventory, "A")
    assert newest_receipt(canary, "stage")["did"] == {"stage": "A", "passed": True}
    assert "stage-a-" not in site.account.podman("ps", "--all", "--format", "{{.Names}}").out
    assert "stage-a-" not in site.account.podman("volume", "ls", "--quiet").out
    assert not list(canary.directory.parent.glob("stage-a-*"))


def test_stage_b_recycles_the_canary_in_any_case(canary: Tenant, inventory: Inventory) -> None:
    before = canary.container()["Id"]
    stage(inventory, "B")
    assert canary.container()["Id"] != before
    assert newest_receipt(canary, "stage")["did"]["outcome"] == "recycled"


def test_stage_c_does_a_task_and_leaves_nothing_of_it(canary: Tenant, inventory: Inventory) -> None:
    rows = canary.superuser("SELECT count(*) FROM memory_plugin.memory_records")
    stage(inventory, "C")
    assert newest_receipt(canary, "stage")["did"] == {"stage": "C", "passed": True}
    assert canary.superuser("SELECT count(*) FROM memory_plugin.memory_records") == rows


def test_a_stage_that_is_none_is_refused(inventory: Inventory) -> None:
    assert inventory.verb("stage", "--data", "stage=D").failed().line("--data stage='D' is not one of A, B, C")


@pytest.mark.parametrize(
    ("verb", "typed"),
    [
        ("stage", ("stage=C",)),
        ("retire", ("tenant={name}",)),
        ("backfill", ("tenant={name}", "mode=apply")),
        ("erase", ("tenant={name}", "subject=task_run:00000000-0000-4000-8000-000000000001", "reason=asked")),
    ],
)
def test_a_limit_that_leaves_the_verb_nothing_to_do_is_no_success(
    verb: str, typed: tuple[str, ...], inventory: Inventory, canary: Tenant
) -> None:
    options = [word for pair in typed for word in ("--data", pair.format(name=canary.name))]
    run = inventory.verb(verb, "--limit", "@local", *options).failed()
    assert run.line(f"{verb} is for {canary.name}, and --limit excludes all of them"), run.said
    assert canary.container()["State"]["Running"] is True


def test_old_rows_stop_a_deploy_with_their_count_and_the_move_brings_them_over(
    canary: Tenant, inventory: Inventory
) -> None:
    canary.superuser(OLD)
    stopped = inventory.provision("--limit", canary.name).failed()
    assert stopped.line(canary.name, "public.memory_records holds 7 rows of an older installation"), stopped.said
    inventory.verb("move").went_well()
    query = "SELECT count(*) FROM memory_plugin.memory_records WHERE created_at = '2025-01-01 00:00:00Z'"
    assert canary.superuser(query) == "7"
    assert newest_receipt(canary, "move")["did"] == {"memory_namespaces": 1, "memory_records": 7}
    inventory.provision("--limit", canary.name).changed_nothing()


def test_a_tenant_leaves_and_comes_back_with_its_data(site: Site, canary: Tenant, inventory: Inventory) -> None:
    cluster = canary.superuser("SELECT system_identifier FROM pg_control_system()")
    assert inventory.verb("retire", "--data", "tenant=another").failed().line("is not a tenant of this inventory")
    inventory.verb("retire", "--limit", canary.name, "--data", f"tenant={canary.name}").went_well()
    assert (site.containers(canary), site.volumes(canary)) == ([], [canary.volume])
    assert inventory.status().went_well().line(canary.name, "retired ", "data kept (g1)")
    again = inventory.verb("retire", "--limit", canary.name, "--data", f"tenant={canary.name}")
    assert again.went_well().changes == []
    inventory.provision("--limit", canary.name).went_well()
    assert canary.superuser("SELECT system_identifier FROM pg_control_system()") == cluster
    assert canary.superuser("SELECT count(*) FROM memory_plugin.memory_records WHERE namespace = 'team:old'") == "7"
    inventory.provision("--limit", canary.name).changed_nothing()
