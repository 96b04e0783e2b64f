"""
Tenants that the release before this tree made are taken over as they are, and every verb works on them.

Two of them: one that has lived, with every component, a model, passwords that were rotated, and TLS where this machine
has an address for it; and one whose last recycle was killed half-way.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgberth.database.write_probe import SCHEMA
from tests.deploy import last_release
from tests.deploy.last_release import CONNECTORS
from tests.deploy.product import Inventory, Run, run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant

# What this tree does to a tenant of the last release, named here and in the CHANGELOG; each is empty at its best.
REPAIRS: list[str] = []  # operations of `provision` that change something, on the tenant that has lived
REWRITTEN: set[str] = set()  # files of its account
PENDING: list[str] = []  # what a recycle would change, in the words of the closing report
MODEL = ("--data", "model=tests", "--data", "hash=1e5", "--data", "dimension=8")


@dataclass
class Taken:
    """
    Tenants of the last release, before and after this tree had its turn.

    + former, ours: the same inventory file, read by that release and by this tree
    + lived: the ring `canary`; halved: the ring `production`, its recycle killed
    + rows: table -> what was written to `lived`; + containers: tenant -> when its container was started
    + files: those of `lived`; + first: the first provision by this tree
    """

    former: Inventory
    ours: Inventory
    lived: Tenant
    halved: Tenant
    rows: dict[str, list[Any]]
    containers: dict[str, str]
    files: dict[str, tuple[float, bytes]]
    first: Run


def address_beyond_loopback() -> str:
    """An address of this machine; "" where it has none but loopback. Nothing is sent: a datagram's socket is bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        found: str = probe.getsockname()[0]
    return "" if found.startswith("127.") else found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return last_release.install(tmp_path_factory.mktemp("last-release"))


@pytest.fixture(scope="module")
def taken(site: Site, tree: Path) -> Iterator[Taken]:
    """The site has its image by then: both trees ask for it by the same tag and recipe."""
    lived, halved = site.tenant("lived", "control_plane", "memory_plugin", "knowledge"), site.tenant("halved")
    former, ours = last_release.inventories(
        site,
        tree,
        canary=last_release.line(lived, address_beyond_loopback()),
        production=last_release.line(halved),
    )
    limit = ("--limit", lived.name)
    former.provision().went_well()
    rows = write(lived)
    former.verb("register_model", *limit, *MODEL).went_well()
    former.verb("rotate", *limit, "--data", "drain=0").went_well()
    killed = former.verb("recycle", "--limit", halved.name, PGBERTH_KILL_AT="recycle.swapped")
    assert killed.code == -signal.SIGKILL, killed.said
    former.verify(*limit).went_well()
    containers = {one.name: started(one) for one in (lived, halved)}
    files = lived.files()
    yield Taken(former, ours, lived, halved, rows, containers, files, ours.provision())
    for tenant in (lived, halved):
        site.remove(tenant)


def urls(tenant: Tenant) -> dict[str, str]:
    """Component -> URL, as its clients read them."""
    lines = (tenant.directory / "connection.env").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    return {component: found[f"{component.upper()}_DATABASE_URL"] for component in tenant.components}


INSERTS = {
    "control_plane": {
        "task_run": "INSERT INTO task_run (task_key, cousin, objective) VALUES (%(key)s, 'c', 'o')",
        "task_checkpoint": "INSERT INTO task_checkpoint"
        " (task_run_id, checkpoint_kind, sequence_no, summary, created_by)"
        " SELECT id, 'task_start', 1, %(key)s, 'me' FROM task_run",
    },
    "memory_plugin": {
        "memory_namespaces": "INSERT INTO memory_namespaces (name, kind) VALUES ('team:last', 'team')",
        "memory_records": "INSERT INTO memory_records (namespace, content, kind, source, embedding)"
        " SELECT 'team:last', %(key)s || n, 'fact', 'user', array_fill(n, '{1536}')::vector"
        " FROM generate_series(1, 100) AS n",
    },
    "knowledge": {"knowledge_nodes": "INSERT INTO knowledge_nodes (content, tags) VALUES (%(key)s, '{quay}')"},
}


def write(tenant: Tenant) -> dict[str, list[Any]]:
    """Rows for every component through its published URL; the value is what is there then."""
    for component, url in urls(tenant).items():
        with psycopg.connect(url) as session:
            for statement in INSERTS[component].values():
                session.execute(statement.encode(), {"key": str(uuid.uuid4())})
    return rows(tenant)


def rows(tenant: Tenant) -> dict[str, list[Any]]:
    """Table -> its rows as JSON, through the published URLs."""
    found = {}
    for component, url in urls(tenant).items():
        with psycopg.connect(url) as session:
            for table in INSERTS[component]:
                query = f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY to_jsonb(t)"
                found[table] = session.execute(query.encode()).fetchall()
    return found


def started(tenant: Tenant) -> str:
    """Which container runs, and since when."""
    told = tenant.container()
    return f"{told['Id']} {told['State']['StartedAt']}"


def newest_receipt(tenant: Tenant, verb: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(max((tenant.directory / "receipts").glob(f"*-{verb}.json")).read_text())
    return told


def test_the_last_release_is_what_made_them(tree: Path) -> None:
    """Its package, its metadata and its connectors, as pyinfra loads them; not those that are installed."""
    script = (
        "import json, pgberth, pyinfra_cli.main\n"
        "from importlib.metadata import entry_points\n"
        "from pyinfra.api.connectors import get_all_connectors\n"
        "names = {one.name: one.value for one in entry_points(group='pyinfra.connectors')}\n"
        "loaded = {name: f'{one.__module__}:{one.__name__}' for name, one in get_all_connectors().items()}\n"
        "print(json.dumps([pgberth.__file__, names, loaded]))\n"
    )
    package, named, loaded = json.loads(run([sys.executable, "-c", script], tree=tree).went_well().out)
    assert Path(package).is_relative_to(tree)
    assert {name: named[name] for name in CONNECTORS} == CONNECTORS
    assert {name: loaded[name] for name in CONNECTORS} == CONNECTORS


def test_provision_changes_nothing_but_what_it_names(taken: Taken) -> None:
    first = taken.first.went_well()
    finished = [f"no recycle is half done: {taken.halved.name}", f"receipt is kept: {taken.halved.name}"]
    assert sorted(first.changes) == sorted([*(f"{name}: {taken.lived.name}" for name in REPAIRS), *finished])
    pending = [line.partition("pending: ")[2] for line in first.err.splitlines() if "pending: " in line]
    assert pending == PENDING
    before, now = taken.files, taken.lived.files()
    new = {f"receipts/{path.name}" for path in (taken.lived.directory / "receipts").glob("*-provision.json")}
    changed = {path for path in before | now if before.get(path) != now.get(path)} - (new if REPAIRS else set())
    assert changed == REWRITTEN
    assert {one.name: started(one) for one in (taken.lived, taken.halved)} == taken.containers


def test_what_that_release_left_half_done_is_finished(site: Site, taken: Taken) -> None:
    assert taken.first.line(taken.halved.name, "an interrupted recycle was ended"), taken.first.said
    assert not (taken.halved.directory / "recycling.json").exists()
    assert taken.halved.superuser(f"SELECT count(*) FROM pg_namespace WHERE nspname = '{SCHEMA}'") == "0"
    assert site.leftovers(taken.halved) == []


def test_a_second_provision_changes_nothing(taken: Taken) -> None:
    taken.ours.provision().changed_nothing()


def test_verify_is_green_and_every_row_is_there(taken: Taken) -> None:
    taken.ours.verify().went_well()
    assert rows(taken.lived) == taken.rows


def test_what_that_release_proved_of_a_canary_counts(taken: Taken) -> None:
    """The canary's newest receipt is that release's own, as long as this tree has no repair to make."""
    recycled = taken.ours.verb("recycle", "--limit", taken.halved.name)
    assert not recycled.line("is not green"), recycled.said
    if not recycled.line("no canary tenant runs what this one would get"):  # so it is where flags or version differ
        recycled.went_well()
        assert recycled.line(taken.halved.name, "recycled: gap", " ms, 0 lost of "), recycled.err


def test_a_recycle_loses_nothing(taken: Taken) -> None:
    taken.ours.verb("recycle", "--data", "reason=taken over").went_well()
    for tenant in (taken.lived, taken.halved):
        did = newest_receipt(tenant, "recycle")["did"]
        assert (did["outcome"], did["lost"], did["reason"]) == ("recycled", 0, "taken over")
        assert did["acknowledged"] > 20
    assert rows(taken.lived) == taken.rows
    assert {one.name: started(one) for one in (taken.lived, taken.halved)}.items().isdisjoint(taken.containers.items())


def test_a_rotation_refuses_nobody(taken: Taken) -> None:
    taken.ours.verb("rotate", "--data", "drain=1").went_well()
    for tenant in (taken.lived, taken.halved):
        did = newest_receipt(tenant, "rotate")["did"]
        assert did["refused"] == 0
        assert did["logins"] > 1
    assert rows(taken.lived) == taken.rows


def test_there_is_nothing_to_migrate_and_the_end_is_green(taken: Taken) -> None:
    events = "SELECT count(*) FROM memory_ledger.event"
    before = taken.lived.superuser(events)
    taken.ours.verb("migrate").changed_nothing()
    assert taken.lived.superuser(events) == before
    taken.ours.provision().changed_nothing()
