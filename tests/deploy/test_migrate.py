"""migrate, register_model and erase, on a real tenant with every component."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.conftest import Deployed
from tests.deploy.product import REPO, Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant

MACHINE = """from pgberth.inventory import machine, tenant
_here = machine("@local", account="{account}")
machines = [_here.host]
"""
# Everything a migration could change, as rows; the ledger's own included.
CATALOGUE = """
SELECT c.oid::regclass, c.relkind, c.relacl, pg_get_indexdef(c.oid)
  FROM pg_class AS c
 WHERE c.relnamespace::regnamespace::text IN ('control_plane', 'memory_plugin', 'knowledge', 'memory_ledger')
 ORDER BY 1;
SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, atthasdef FROM pg_attribute
 WHERE attrelid::regclass::text ~ '^(control_plane|memory_plugin|knowledge)' AND attnum > 0 ORDER BY 1, attnum;
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2;
SELECT datname FROM pg_database ORDER BY 1;
SELECT count(*) FROM memory_ledger.event;
"""


@pytest.fixture(scope="module")
def moved(site: Site) -> Iterator[Tenant]:
    """A tenant of this module's own, with the memory plugin only."""
    tenant = site.tenant("moved")
    site.inventory(tenant).provision().went_well()
    yield tenant


def with_components(site: Site, tenant: Tenant, components: str, tree: Path = REPO) -> Inventory:
    """An inventory that asks for these components, written as Python."""
    line = f"canary = [tenant({tenant.name!r}, on=_here, port={tenant.port}, components={components})]\n"
    path = site.places / f"inventory_{uuid.uuid4().hex[:8]}.py"
    path.write_text(MACHINE.format(account=site.account.name) + line)
    return Inventory(path, tree)


def test_a_rehearsal_tells_sql_locks_and_changes_and_leaves_the_live_catalogue_identical(
    site: Site, moved: Tenant
) -> None:
    wider = with_components(site, moved, "['memory_plugin', 'control_plane']")
    before = moved.superuser(CATALOGUE)
    run = wider.verb("migrate", "--data", "rehearse=true").went_well()
    assert run.line("CREATE TABLE control_plane.task_checkpoint"), run.said
    assert run.line("would lock control_plane.task_run in ShareRowExclusiveLock"), run.said
    assert run.line("control_plane: adds table control_plane.task_run"), run.said
    assert moved.superuser(CATALOGUE) == before


def test_a_rehearsal_gives_up_on_a_table_that_somebody_keeps_and_names_them(site: Site, moved: Tenant) -> None:
    inventory = with_components(site, moved, "['memory_plugin']")
    with moved.connect() as app:
        app.execute("SET application_name = 'keeper'")
        app.execute("BEGIN; LOCK TABLE memory_plugin.memory_records IN ACCESS EXCLUSIVE MODE")
        run = inventory.verb("migrate", "--data", "rehearse=true").failed()
    told = run.line(f"{moved.name}: another session's lock blocks it", "holds AccessExclusiveLock on memory_plugin")
    assert "application keeper" in told, run.said
    assert run.line("HINT: runbooks/table-is-locked.md"), run.said


def test_up_and_down_are_asked_for_by_name_and_a_readable_dump_comes_first(site: Site, moved: Tenant) -> None:
    wider = with_components(site, moved, "{'memory_plugin': 'head', 'control_plane': 'head'}")
    wider.verb("migrate").went_well()
    assert moved.superuser("SELECT to_regclass('control_plane.task_run')") == "control_plane.task_run"

    lower = with_components(site, moved, "{'memory_plugin': 'head', 'control_plane': 0}")
    refused = lower.verb("migrate").failed()
    assert refused.line("control_plane 0001_runs_and_procedures is applied, the target is 0000"), refused.said
    assert moved.superuser("SELECT to_regclass('control_plane.task_run')") == "control_plane.task_run"

    lower.verb("migrate", "--data", "down=true").went_well()
    assert moved.superuser("SELECT to_regclass('control_plane.task_run')") == ""
    (dump,) = (moved.directory / "dumps").iterdir()
    assert dump.stat().st_mode & 0o777 == 0o600
    assert dump.read_bytes()[:5] == b"PGDMP"

    wider.verb("migrate").went_well()
    wider.provision().went_well()  # publishes the wider set of URLs
    wider.provision().changed_nothing()


def test_an_edited_migration_stops_with_both_hashes_and_the_difference(
    site: Site, moved: Tenant, tmp_path: Path
) -> None:
    for part in ("deploy", "templates"):
        shutil.copytree(REPO / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "templates/sql/memory_plugin/0001_memory_v2.up.sql.j2"
    file.write_text(file.read_text().replace("pin         boolean", "pinned      boolean"))
    recorded, events = moved.superuser(
        "SELECT rendered_sha256, (SELECT count(*) FROM memory_ledger.event) FROM memory_ledger.head"
        " WHERE component = 'memory_plugin' AND version = '0001'"
    ).split("|")

    components = "['memory_plugin', 'control_plane']"
    run = with_components(site, moved, components, tmp_path).verb("migrate").failed()
    told = run.line("memory_plugin 0001_memory_v2 was edited after it was applied")
    assert recorded in told, run.said
    assert len(set(re.findall(r"\b[0-9a-f]{64}\b", told))) == 2, told
    assert run.line("-  pin         boolean"), run.said
    assert run.line("+  pinned      boolean"), run.said
    assert moved.superuser("SELECT count(*) FROM memory_ledger.event") == events

    with_components(site, moved, components).provision().changed_nothing()


def test_a_knowledge_store_is_bound_to_one_model_and_gets_its_index(deployed: Deployed) -> None:
    tenant, inventory = deployed.two, deployed.both
    model = ("--limit", tenant.name, "--data", "model=tests", "--data", "hash=1e5", "--data", "dimension=8")
    inventory.verb("register_model", *model).went_well()
    assert tenant.superuser("SELECT name, dimension, hash FROM knowledge.embedding_model") == "tests|8|1e5"
    index = "'knowledge.idx_knowledge_nodes_embedding_hnsw'::regclass"
    assert tenant.superuser(f"SELECT indisvalid FROM pg_index WHERE indexrelid = {index}") == "t"

    refused = inventory.verb("register_model", *model[:-1], "dimension=9").failed()
    told = refused.line("register_model was done with model_dimension = 8", "not with model_dimension = 9")
    assert told, refused.said
    inventory.provision().changed_nothing()


def test_an_erased_subject_leaves_a_tombstone_and_closed_tables(deployed: Deployed) -> None:
    tenant, inventory = deployed.two, deployed.both
    gone, stays = str(uuid.uuid4()), str(uuid.uuid4())
    with tenant.connect() as app:
        for run in (gone, stays):
            app.execute(
                "INSERT INTO control_plane.task_run (id, task_key, cousin, objective) VALUES (%s, %s, 'c', 'o')",
                [run, run],
            )
            app.execute(
                "INSERT INTO control_plane.task_checkpoint"
                " (task_run_id, checkpoint_kind, sequence_no, summary, created_by)"
                " VALUES (%s, 'task_start', 1, 's', 'me')",
                [run],
            )
    asked = ("--data", f"subject=task_run:{gone}", "--data", "reason=asked to be forgotten")
    inventory.verb("erase", *asked).failed()  # the tenant's name is not typed
    inventory.verb("erase", *asked, "--data", f"tenant={tenant.name}").went_well()

    assert tenant.superuser("SELECT id FROM control_plane.task_run") == stays
    assert tenant.superuser("SELECT task_run_id FROM control_plane.task_checkpoint") == stays
    assert tenant.superuser("SELECT subject FROM memory_ledger.tombstone") == f"task_run:{gone}"
    closed = "SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgname LIKE 'append_only%'"
    assert tenant.superuser(closed) == "A"
    inventory.verb("verify", "--limit", tenant.name).went_well()
