"""
This tree takes over tenants that the last release made: it changes nothing but what it names, and every verb works.

There are two of them. One has been in use: it has every component, a registered model, rotated passwords, and TLS where
this machine has an address beyond loopback. The last recycle of the other one was killed half-way.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dotenv import dotenv_values

from tests.deploy import last_release
from tests.deploy.last_release import CONNECTORS
from tests.deploy.product import Inventory, Run, run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant

# What this tree does to each tenant of the last release; the CHANGELOG names it, too. Each is empty at its best.
REPAIRS = [
    "configuration is current",
    "roles and rights are current",
    "schemas are at their versions",
]  # by `provision`
REWRITTEN = {"etc/pg_hba.conf", "etc/pg_hba_tls.conf"}  # files of its account
REPUBLISHED = "connection files are published"  # one operation more for a tenant that listens, and one file
PENDING = {
    "recycle (flags or settings of this release)"
}  # what a recycle would change, in the words of the closing report
KEPT = "receipt is kept"  # an operation that follows every change
MODEL = ("--data", "model=tests", "--data", "hash=1e5", "--data", "dimension=8")


@dataclass
class Takeover:
    """
    Tenants of the last release, and the first provision of them by this tree.

    + inventory: the file that the last release read; this tree reads it, too
    + used: the ring `canary`; + killed: the ring `production`, its recycle killed half-way
    + rows: table -> what was written to `used`
    + containers: tenant -> which container ran before this tree's first command, and since when
    + before, after: the files of `used` on both sides of the first provision
    """

    inventory: Inventory
    used: Tenant
    killed: Tenant
    rows: dict[str, list[Any]] = field(repr=False)
    containers: dict[str, str]
    first: Run
    before: dict[str, tuple[float, bytes]] = field(repr=False)  # passwords among them
    after: dict[str, tuple[float, bytes]] = field(repr=False)

    @property
    def listens(self) -> bool:
        """Whether `used` listens beyond loopback."""
        return "Listen(" in self.inventory.path.read_text().partition("machines")[2]


def address_beyond_loopback() -> str:
    """An address of this machine; "" where it has none but loopback. Connecting a datagram socket sends nothing."""
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


@dataclass
class Found:
    """
    A tenant as the last release left it, which this tree has provisioned never.

    + rules: its pg_hba.conf
    """

    inventory: Inventory
    tenant: Tenant
    rules: str

    def put_back(self) -> None:
        """What the first verb of this tree repaired is again as the last release had it: the rules and the roles."""
        path = self.tenant.directory / "etc/pg_hba.conf"
        assert "memory_suite" in path.read_text()
        path.write_text(self.rules)
        self.tenant.superuser("DROP ROLE memory_suite; SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def found(site: Site, tree: Path) -> Iterator[Found]:
    tenant = site.tenant("found", "control_plane", "memory_plugin", "knowledge")
    previous, current = last_release.inventories(site, tree, canary=last_release.line(tenant))
    previous.provision().went_well()
    rules = (tenant.directory / "etc/pg_hba.conf").read_text()
    assert "memory_suite" not in rules
    write(tenant)
    yield Found(current, tenant, rules)
    site.remove(tenant)


@pytest.fixture(scope="module")
def takeover(site: Site, tree: Path) -> Iterator[Takeover]:
    """The site has its image already: both trees ask for it by the same tag and recipe, and build none."""
    used, killed = site.tenant("used", "control_plane", "memory_plugin", "knowledge"), site.tenant("killed")
    previous, current = last_release.inventories(
        site,
        tree,
        canary=last_release.line(used, address_beyond_loopback()),
        production=last_release.line(killed),
    )
    limit = ("--limit", used.name)
    previous.provision().went_well()
    rows = write(used)
    previous.verb("register_model", *limit, *MODEL).went_well()
    previous.verb("rotate", *limit, "--data", "drain=0").went_well()
    dead = previous.verb("recycle", "--limit", killed.name, PGBERTH_KILL_AT="recycle.swapped")
    assert dead.code == -signal.SIGKILL, dead.said
    previous.verify(*limit).went_well()
    containers = {one.name: started(one) for one in (used, killed)}
    before = used.files()
    first = current.provision()
    yield Takeover(current, used, killed, rows, containers, first, before, used.files())
    for tenant in (used, killed):
        site.remove(tenant)


def urls(tenant: Tenant) -> dict[str, str]:
    """Component -> URL, as its clients read them."""
    found = dotenv_values(tenant.directory / "connection.env")
    return {component: str(found[f"{component.upper()}_DATABASE_URL"]) for component in tenant.components}


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
    """Write rows for every component through its published URL, and read them all."""
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
    """The id of the tenant's container, and when it was started."""
    container = tenant.container()
    return f"{container['Id']} {container['State']['StartedAt']}"


def newest_receipt(tenant: Tenant, verb: str) -> dict[str, Any]:
    newest = max((tenant.directory / "receipts").glob(f"*-{verb}.json"))
    receipt: dict[str, Any] = json.loads(newest.read_text())
    return receipt


def test_the_last_release_is_what_made_them(tree: Path) -> None:
    """pyinfra loads its package and its connectors, and not those that are installed."""
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


def test_a_rotation_needs_no_provision_before_it(found: Found) -> None:
    """A tenant of the last release knows no role `memory_suite`, and its pg_hba.conf refuses it."""
    found.inventory.verb("rotate", "--data", "drain=1").went_well()
    did = newest_receipt(found.tenant, "rotate")["did"]
    assert (did["refused"], did["old passwords refused"]) == (0, 4)
    found.inventory.verify().went_well()


FIRST_VERBS = {
    "migrate": (),
    "move": (),
    "register_model": MODEL,
    "erase": ("--data", "reason=asked"),
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("verb", FIRST_VERBS)
def test_no_verb_needs_a_provision_before_it(found: Found, verb: str) -> None:
    subject = found.tenant.superuser("SELECT min(id::text) FROM control_plane.task_run")
    typed = ("--data", f"tenant={found.tenant.name}", "--data", f"subject=task_run:{subject}")
    found.put_back()
    found.inventory.verb(verb, *FIRST_VERBS[verb], *(typed if verb == "erase" else ())).went_well()
    found.inventory.verify().went_well()


def test_provision_changes_nothing_but_what_it_names(takeover: Takeover) -> None:
    first = takeover.first.went_well()
    named = {
        takeover.used.name: [*REPAIRS, *([REPUBLISHED] if takeover.listens else []), KEPT],
        # It has no component whose rights changed.
        takeover.killed.name: ["no recycle is half done", *REPAIRS[:2], KEPT],
    }
    assert sorted(first.changes) == sorted(f"{name}: {tenant}" for tenant, names in named.items() for name in names)
    assert {line.partition("pending: ")[2] for line in first.err.splitlines() if "pending: " in line} == PENDING
    assert {one.name: started(one) for one in (takeover.used, takeover.killed)} == takeover.containers


def test_provision_rewrites_no_file_but_those_it_names(takeover: Takeover) -> None:
    before, after = takeover.before, takeover.after
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    rewritten = REWRITTEN | ({"connection.env"} if takeover.listens else set())
    assert {path for path in changed if path in before} == rewritten
    assert all(path.startswith("receipts/") for path in changed - rewritten)


def test_what_that_release_left_half_done_is_finished(site: Site, takeover: Takeover) -> None:
    assert takeover.first.line(takeover.killed.name, "an interrupted recycle was ended"), takeover.first.said
    assert not (takeover.killed.directory / "recycling.json").exists()
    schemas = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$' ORDER BY 1"
    assert takeover.killed.superuser(schemas).split() == ["memory_ledger", "memory_plugin", "public"]
    assert site.leftovers(takeover.killed) == []


def test_a_second_provision_changes_nothing(takeover: Takeover) -> None:
    takeover.inventory.provision().changed_nothing()


def test_verify_is_green_and_every_row_is_there(takeover: Takeover) -> None:
    takeover.inventory.verify().went_well()
    assert rows(takeover.used) == takeover.rows
    assert all(("sslmode=verify-full" in url) == takeover.listens for url in urls(takeover.used).values())


def test_what_that_release_proved_of_a_canary_counts(takeover: Takeover) -> None:
    """The canary's newest receipt is one of that release, as long as this tree has no repair to make."""
    recycled = takeover.inventory.verb("recycle", "--limit", takeover.killed.name)
    assert not recycled.line("is not green"), recycled.said
    if not recycled.line("no canary tenant runs what this one would get"):  # where flags or version differ
        recycled.went_well()
        assert recycled.line(takeover.killed.name, "recycled: gap", " ms, 0 lost of "), recycled.err


def test_a_recycle_loses_nothing(takeover: Takeover) -> None:
    takeover.inventory.verb("recycle", "--data", "reason=takeover").went_well()
    for tenant in (takeover.used, takeover.killed):
        did = newest_receipt(tenant, "recycle")["did"]
        assert (did["outcome"], did["lost"], did["reason"]) == ("recycled", 0, "takeover")
        assert did["acknowledged"] > 20
    assert rows(takeover.used) == takeover.rows
    assert {one.name: started(one) for one in (takeover.used, takeover.killed)}.items().isdisjoint(
        takeover.containers.items()
    )


def test_a_rotation_refuses_nobody(takeover: Takeover) -> None:
    takeover.inventory.verb("rotate", "--data", "drain=1").went_well()
    for tenant in (takeover.used, takeover.killed):
        did = newest_receipt(tenant, "rotate")["did"]
        assert did["refused"] == 0
        assert did["logins"] > 1
    assert rows(takeover.used) == takeover.rows


def test_there_is_nothing_to_migrate_and_the_end_is_green(takeover: Takeover) -> None:
    events = "SELECT count(*) FROM memory_ledger.event"
    before = takeover.used.superuser(events)
    takeover.inventory.verb("migrate").changed_nothing()
    assert takeover.used.superuser(events) == before
    takeover.inventory.provision().changed_nothing()
