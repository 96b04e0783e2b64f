"""Every component equals its contract, can be reverted, and has verify files that find every planted fault."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pgberth.migrations.source import Migration
from tests.contract.catalogue import Session, contract, live, orders
from tests.contract.components import applied, bring_up, dump, found, rendered, standing, take_down, undone
from tests.contract.faults import Fault, faults, named
from tests.contract.samples import filling
from tests.postgres import Database, Server

COMPONENTS = ["control_plane", "memory_plugin", "knowledge"]
FAULTS = [pytest.param(name, fault, id=f"{name}, {fault}") for name in COMPONENTS for fault in faults(name)]
REPAIRABLE = [
    pytest.param(name, fault, id=f"{name}, {fault}")
    for name in COMPONENTS
    for fault in faults(name)
    if fault.repairable
]
STAIRS = [(name, below, above) for name in COMPONENTS for below, above in (("0000", "0001"), ("0001", "0002"))]
STAIRS.remove(("memory_plugin", "0001", "0002"))


@dataclass(frozen=True)
class Tenant:
    """A database with every component, and what is applied in it."""

    superuser: Session
    migrations: dict[str, tuple[Migration, ...]]


@pytest.fixture(scope="module")
def tenant(postgres18: Server) -> Iterator[Tenant]:
    with standing(postgres18, *COMPONENTS) as database:
        yield Tenant(database.connect("postgres"), {name: applied(database, name) for name in COMPONENTS})


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_catalogue_is_the_contract(tenant: Tenant, component: str) -> None:
    desired, there = contract(component), live(tenant.superuser, component)
    assert there == {"enums": desired["enums"], "tables": desired["tables"]}
    assert orders(there) == orders(desired)


@pytest.mark.parametrize("component", COMPONENTS)
def test_up_down_to_zero_and_up_again_gives_the_same_schema(database: Database, component: str) -> None:
    nothing = dump(database)
    bring_up(database, component)
    everything = dump(database)
    take_down(database, component, "zero")
    assert dump(database) == nothing
    bring_up(database, component)
    assert dump(database) == everything
    assert bring_up(database, component) == ()


@pytest.mark.parametrize(("component", "below", "above"), STAIRS)
def test_each_version_can_be_taken_back_and_done_again(
    database: Database, component: str, below: str, above: str
) -> None:
    bring_up(database, component, to=below)
    before = dump(database)
    bring_up(database, component, to=above)
    after = dump(database)
    take_down(database, component, below)
    assert dump(database) == before
    bring_up(database, component, to=above)
    assert dump(database) == after


@pytest.mark.parametrize(("component", "fault"), FAULTS)
def test_verify_is_silent_until_a_fault_is_planted_and_then_names_it(
    tenant: Tenant, component: str, fault: Fault
) -> None:
    with undone(tenant.superuser) as session:
        assert named(session, tenant.migrations[component]) == []
        session.execute(fault.sql.encode())
        lines = named(session, tenant.migrations[component])
    assert [line for line in lines if line.startswith(fault.finds)], lines


@pytest.mark.parametrize(("component", "fault"), REPAIRABLE)
def test_functions_triggers_and_grants_are_put_back_by_the_repeatables(
    tenant: Tenant, component: str, fault: Fault
) -> None:
    migrations = tenant.migrations[component]
    with undone(tenant.superuser) as session:
        session.execute(fault.sql.encode())
        assert named(session, migrations) != []
        session.execute("SET LOCAL ROLE memory_owner; SET LOCAL search_path = pg_catalog, pg_temp")
        for migration in migrations:
            if migration.kind == "repeatable":
                session.execute(migration.up.encode())
        assert named(session, migrations) == []


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("role", ["memory_monitor", "memory_app_a", "memory_migrator"])
def test_any_role_can_run_verify_even_where_nothing_is_there(database: Database, component: str, role: str) -> None:
    assert {finding.problem for finding in found(database.connect(role), rendered(component))} == {"is missing"}
    bring_up(database, component)
    assert found(database.connect(role), rendered(component)) == ()


def test_a_dump_with_rows_restores_as_it_was(new_tenant_database: Callable[[], Database]) -> None:
    """A restore has an empty search_path, computes generated columns and checks again, and parses every definition."""
    source, target = new_tenant_database(), new_tenant_database()
    for component in COMPONENTS:
        bring_up(source, component)
        source.connect("memory_app_a").execute(filling(component))
    before, after = source.connect("postgres"), target.connect("postgres")
    restore(source, target)
    for component in COMPONENTS:
        assert live(after, component) == live(before, component)
        assert named(target.connect("memory_owner"), applied(target, component)) == []
    for query in (
        "SELECT * FROM knowledge.knowledge_nodes ORDER BY id",
        "SELECT * FROM control_plane.task_checkpoint",
        "SELECT * FROM memory_plugin.memory_records",
    ):
        assert after.execute(query.encode()).fetchall() == before.execute(query.encode()).fetchall() != []


def restore(source: Database, target: Database) -> None:
    """Everything but the extension, which belongs to the superuser and is there already."""
    programs = source.server.bin
    command = [str(programs / "pg_dump"), "--exclude-extension=vector", f"--dbname={source.conninfo('postgres')}"]
    dumped = subprocess.run(command, capture_output=True, check=True).stdout
    command = [str(programs / "psql"), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", target.conninfo("postgres")]
    subprocess.run(command, input=dumped, capture_output=True, check=True)
