"""A limit means what it says: one tenant, one ring, and never a success that did nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.account import throwaway
from tests.deploy.conftest import Deployed
from tests.deploy.product import Run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant


def hosts_of(run: Run) -> set[str]:
    """Every host that any operation was run for."""
    told: list[dict[str, Any]] = run.results["operations"]
    return {host for done in told for outcome in ("success", "error", "no_change") for host in done[outcome]}


def looks(tenant: Tenant) -> tuple[object, ...]:
    """Everything about a tenant that a deploy could touch."""
    container = tenant.container()
    state = container["State"]
    started = tenant.superuser("SELECT pg_postmaster_start_time(), pg_conf_load_time()")
    return container["Id"], state["Pid"], state["StartedAt"], started, tenant.files()


@pytest.mark.parametrize("limit", ["tenant", "ring"])
def test_a_limited_deploy_touches_that_tenant_alone(deployed: Deployed, limit: str) -> None:
    one, two = deployed.tenants
    for tenant in deployed.tenants:
        (tenant.directory / "passfile").unlink()
    before = looks(two)
    run = deployed.both.provision("--limit", one.name if limit == "tenant" else "canary").went_well()
    assert hosts_of(run) == {one.name}
    assert run.changes == [f"connection files are published: {one.name}", f"receipt is kept: {one.name}"]
    assert looks(two) == before
    assert not (two.directory / "passfile").exists()

    assert deployed.both.provision().went_well().hosts_changed() == {two.name}
    deployed.both.provision().changed_nothing()


@pytest.mark.parametrize("verb", ["provision", "verify", "status"])
def test_a_limit_that_matches_nothing_is_a_failure(deployed: Deployed, verb: str) -> None:
    before = [looks(tenant) for tenant in deployed.tenants]
    run = deployed.both.verb(verb, "--limit", "nobody").failed()
    assert run.line("HINT: "), run.said
    assert [looks(tenant) for tenant in deployed.tenants] == before


def test_a_limited_deploy_is_refused_on_a_machine_that_was_never_prepared(
    root: None, deployed: Deployed, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with throwaway("unready") as account:
        site = Site(account, tmp_path_factory.mktemp("unready"))
        tenant = site.tenant("one")
        run = site.inventory(tenant).provision("--limit", tenant.name).failed()
        assert run.line(tenant.name), run.said
        assert run.line("HINT: run the deploy once without --limit"), run.said
        assert not account.exists
