"""A recycle loses nothing, tries a change on one ring first, and goes back where it is red."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgberth.database.write_probe import SCHEMA
from pgberth.model import layout
from tests.deploy.processes import eventually, processes
from tests.deploy.product import Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant

TAG = "localhost/pgberth:18-forky"
# What is laid over the server's image, and what becomes of it: the same server; one that never answers; one that dies.
OTHERS = {
    "twin": "LABEL pgberth.test=twin",
    "hangs": "RUN printf '#!/bin/sh\\nexec sleep 1000\\n' > {bindir}/postgres",
    "dies": "RUN printf '#!/bin/sh\\necho poisoned >&2; exit 3\\n' > {bindir}/postgres",
}


@dataclass
class Fleet:
    """
    Two tenants of their own, and images besides the one they were made with.

    + images: suite -> what the machine file says of its image
    """

    site: Site
    one: Tenant
    two: Tenant
    images: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def machine_file(self) -> Path:
        return self.site.account.home / layout.MACHINE_FILE

    def inventory(self, *, canary: str = "forky", production: str = "forky", rings: bool = True) -> Inventory:
        """The two of them, each with the image of that suite; the first is the ring `canary` where there are rings."""
        lines = [
            f"tenant({one.name!r}, on=_here, port={one.port}, components={{'memory_plugin'}}, image=Image({suite!r}))"
            for one, suite in ((self.one, canary), (self.two, production))
        ]
        told = [f"canary = [{lines[0]}]", f"production = [{lines[1]}]"] if rings else [f"gold = [{', '.join(lines)}]"]
        head = "from pgberth.inventory import Image, machine, tenant"
        here = f'_here = machine("@local", account="{self.site.account.name}")'
        path = self.site.places / f"recycle_{canary}_{production}_{rings}.py"
        path.write_text("\n".join([head, here, "machines = [_here.host]", *told]) + "\n")
        return Inventory(path)

    def knows(self, suite: str, **facts: Any) -> None:
        """The machine has an image of that suite, with these facts where they are not the usual one's."""
        told = json.loads(self.machine_file.read_text())
        told["images"][f"localhost/pgberth:18-{suite}"] = {**told["images"][TAG], **self.images.get(suite, {}), **facts}
        self.machine_file.write_text(json.dumps(told))

    def build(self, suite: str) -> None:
        account, tag = self.site.account, f"localhost/berthtest:{suite}"
        bindir = json.loads(self.machine_file.read_text())["images"][TAG]["bindir"]
        text = f"FROM {TAG}\nUSER 0\n{OTHERS[suite].format(bindir=bindir)}\n"
        build = f'cat > "$1" && podman build --quiet --isolation=chroot --tag {tag} -f "$1" && rm "$1"'
        account.run("sh", "-c", build, "build", f"Containerfile.{suite}", stdin=text, timeout=120)
        told = account.podman("image", "inspect", "--format", "{{.Id}}", tag).out.strip()
        self.images[suite] = {"id": f"sha256:{told}"}
        self.knows(suite)


@pytest.fixture(scope="module")
def fleet(site: Site) -> Iterator[Fleet]:
    fleet = Fleet(site, site.tenant("rec-one"), site.tenant("rec-two"))
    fleet.inventory().provision().went_well()
    before = fleet.machine_file.read_text()
    for suite in OTHERS:
        fleet.build(suite)
    yield fleet
    fleet.machine_file.write_text(before)
    for tenant in (fleet.one, fleet.two):
        site.remove(tenant)
    tags = [f"localhost/berthtest:{suite}" for suite in OTHERS]
    site.account.podman("image", "rm", "--force", *tags, check=False)


_PAUSE = 0.005  # seconds between two writes of a client: no client takes a whole processor


class Writers:
    """Four clients that write on, whatever becomes of the server, and know what was acknowledged."""

    def __init__(self, tenant: Tenant, name: str):
        self.tenant, self.name = tenant, name
        self.acknowledged: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(4)]

    def __enter__(self) -> Writers:
        with self.tenant.connect() as app:
            app.execute("INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES (%s, 'team')", [self.name])
        for thread in self._threads:
            thread.start()
        assert eventually(lambda: len(self.acknowledged) > 50)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _write(self, number: int) -> None:
        insert = (
            "INSERT INTO memory_plugin.memory_records (namespace, content, kind, source)"
            " VALUES (%s, %s, 'fact', 'user')"
        )
        written = 0
        while not self._over.is_set():
            try:
                with self.tenant.connect() as app:
                    while not self._over.is_set():
                        written += 1
                        app.execute(insert, [self.name, f"{number}-{written}"])
                        self.acknowledged.append(f"{number}-{written}")
                        time.sleep(_PAUSE)
            except psycopg.OperationalError:
                time.sleep(0.02)

    def lost(self) -> set[str]:
        promised = set(self.acknowledged)
        with self.tenant.connect() as app:
            query = "SELECT content FROM memory_plugin.memory_records WHERE namespace = %s"
            found = {content for (content,) in app.execute(query, [self.name]).fetchall()}
        return promised - found


def newest_receipt(tenant: Tenant, verb: str = "recycle") -> dict[str, Any]:
    newest = max((tenant.directory / "receipts").glob(f"*-{verb}.json"))
    told: dict[str, Any] = json.loads(newest.read_text())
    return told


def identity(tenant: Tenant) -> str:
    return tenant.superuser("SELECT system_identifier FROM pg_control_system()")


def runs(tenant: Tenant) -> str:
    return f"sha256:{tenant.container()['Image']}"


def clean(fleet: Fleet, tenant: Tenant) -> None:
    """Nothing of a recycle is left: no file, no schema, no second container."""
    assert not (tenant.directory / "recycling.json").exists()
    assert tenant.superuser(f"SELECT count(*) FROM pg_namespace WHERE nspname = '{SCHEMA}'") == "0"
    assert fleet.site.leftovers(tenant) == []


def test_a_change_goes_to_the_canary_first_and_loses_nothing_under_load(fleet: Fleet) -> None:
    desired = fleet.inventory(canary="twin", production="twin")
    before = identity(fleet.one), fleet.two.container()["Id"]
    refused = desired.verb("recycle", "--limit", "production").failed()
    assert refused.line(fleet.two.name, "no canary tenant runs what this one would get"), refused.said
    assert fleet.two.container()["Id"] == before[1]

    with Writers(fleet.one, "team:load") as writers:
        run = desired.verb("recycle", "--limit", "canary", "--data", "reason=1e5 tries").went_well()
    assert run.line(fleet.one.name, "recycled: gap", " ms, 0 lost of "), run.err
    assert writers.lost() == set()
    assert runs(fleet.one) == fleet.images["twin"]["id"]
    assert identity(fleet.one) == before[0]
    did = newest_receipt(fleet.one)["did"]
    assert (did["outcome"], did["lost"], did["reason"]) == ("recycled", 0, "1e5 tries")
    assert did["acknowledged"] > 20
    assert 0 < did["gap_ms"] < 30_000
    assert did["rows_after"]["memory_plugin.memory_records"] >= did["rows_before"]["memory_plugin.memory_records"] > 0
    clean(fleet, fleet.one)

    desired.verb("recycle", "--limit", "production", "--data", "pending=true").went_well()
    assert runs(fleet.two) == fleet.images["twin"]["id"]
    assert desired.verb("recycle", "--data", "pending=true").went_well().line(fleet.one.name, "nothing is pending")
    desired.provision("--limit", fleet.one.name).changed_nothing()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("poison", ["dies", "hangs"])
def test_a_poisoned_image_is_rolled_back_within_the_gate(fleet: Fleet, poison: str) -> None:
    desired, previous = fleet.inventory(canary=poison, production=poison), runs(fleet.one)
    cluster = identity(fleet.one)
    with Writers(fleet.one, f"team:{poison}") as writers:
        run = desired.verb("recycle", "--limit", "canary").failed()
        assert eventually(lambda: not writers.lost())
    says = "the server ended with exit code 3" if poison == "dies" else "the server did not answer within 30 s"
    assert run.line(fleet.one.name, says), run.err
    assert run.line(fleet.one.name, "went back to the previous spec", "which is green"), run.err
    assert run.line("went back: gap", "0 lost of"), run.err
    assert (runs(fleet.one), identity(fleet.one), writers.lost()) == (previous, cluster, set())
    clean(fleet, fleet.one)
    desired.verify("--limit", fleet.one.name).went_well()
    assert newest_receipt(fleet.one)["did"]["outcome"] == "went back"
    refused = desired.verb("recycle", "--limit", "production").failed()
    why = f"canary {fleet.one.name} is not green: its last recycle went back"
    assert refused.line(fleet.two.name, why), refused.err


REFUSED = {
    "is gone": ({"id": f"sha256:{'0' * 64}"}, "is not in podman's store any more"),
    "is of another major": ({"postgres": "17.6"}, "its volume holds PostgreSQL 18, the image is 17"),
    "has an older pgvector": ({"pgvector": "0.8.4"}, "carries pgvector 0.8.4, the database has"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_nothing_is_touched_where_the_image(fleet: Fleet, what: str) -> None:
    facts, says = REFUSED[what]
    fleet.knows("odd", **facts)
    before = fleet.one.container()["Id"], fleet.one.files()
    run = fleet.inventory(canary="odd").verb("recycle", "--limit", "canary").failed()
    assert run.line(fleet.one.name, says), run.err
    assert run.line("HINT: nothing was done"), run.err
    assert (fleet.one.container()["Id"], fleet.one.files()) == before


EDITED = {
    "another generation": ('"generation": 1', '"generation": 7', "says generation 7, and its container runs on"),
    "another major": ('"major": 18', '"major": 17', "says major 17, and its container runs on major 18"),
    "no port": ('"port"', '"prot"', "is missing, or is not understood"),
    "nonsense": ("{", "[", "is missing, or is not understood"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("how", EDITED)
def test_a_spec_file_of_another_hand_stops_nobody(fleet: Fleet, how: str) -> None:
    right, wrong, says = EDITED[how]
    spec, before = fleet.one.directory / "spec.json", fleet.one.container()["Id"]
    kept = spec.read_text()
    spec.write_text(kept.replace(right, wrong))
    try:
        run = fleet.inventory().verb("recycle", "--limit", "canary").failed()
        assert run.line(f"{fleet.one.name}: ~/", says), run.said
        assert run.line("HINT: nothing was done; "), run.said
        assert "Traceback" not in run.said
    finally:
        spec.write_text(kept)
    assert fleet.one.container()["Id"] == before
    clean(fleet, fleet.one)
    fleet.inventory().verify("--limit", fleet.one.name).went_well()


def test_what_tells_of_a_recycle_long_over_takes_nothing_down(fleet: Fleet) -> None:
    usually, before = fleet.inventory(), fleet.one.container()["Id"]
    dead = usually.verb("recycle", "--limit", "canary", PGBERTH_KILL_AT="recycle.recorded")
    assert dead.code == -signal.SIGKILL, dead.said
    told = fleet.one.directory / "recycling.json"
    runs_now = fleet.one.container()["Config"]["Labels"]["pgberth.spec"]
    told.write_text(told.read_text().replace(runs_now, "0" * 16))
    run = usually.provision("--limit", fleet.one.name).failed()
    assert run.line(f"{fleet.one.name}: ~/", f"{runs_now} runs"), run.said
    told.unlink()
    usually.provision("--limit", fleet.one.name).went_well()
    assert fleet.one.container()["Id"] == before
    clean(fleet, fleet.one)


def test_a_former_container_without_its_volume_is_not_gone_back_to(fleet: Fleet) -> None:
    usually = fleet.inventory()
    dead = usually.verb("recycle", "--limit", "canary", PGBERTH_KILL_AT="recycle.swapped")
    assert dead.code == -signal.SIGKILL, dead.said
    told, before = fleet.one.directory / "recycling.json", fleet.one.container()["Id"]
    spec = fleet.one.directory / "spec.json"
    kept = spec.read_text()
    body = json.loads(told.read_text())
    runs_now = fleet.one.container()["Config"]["Labels"]["pgberth.spec"]
    for one in ("former", "wanted"):
        body[one]["spec"] |= {"generation": 7, "hash": runs_now}
    body["former"]["spec"]["hash"] = "0" * 16
    told.write_text(json.dumps(body))
    usually.provision("--limit", fleet.one.name)
    assert fleet.one.container()["Id"] == before
    told.unlink(missing_ok=True)
    spec.write_text(kept)
    usually.provision("--limit", fleet.one.name).went_well()
    clean(fleet, fleet.one)


def test_a_port_that_is_taken_is_told_before_the_server_is_stopped(fleet: Fleet) -> None:
    before = fleet.one.container()["Id"]
    desired = fleet.inventory()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        desired.path.write_text(desired.path.read_text().replace(f"port={fleet.one.port}", f"port={port}"))
        run = desired.verb("recycle", "--limit", "canary").failed()
    assert run.line(f"{fleet.one.name}: port 127.0.0.1:{port} is taken by "), run.said
    assert fleet.one.container()["Id"] == before
    clean(fleet, fleet.one)


def test_after_the_first_red_none_is_begun(fleet: Fleet) -> None:
    before = {tenant.name: tenant.container()["Id"] for tenant in (fleet.one, fleet.two)}
    # Both would be red, since which of them comes first is nobody's promise.
    run = fleet.inventory(canary="dies", production="dies", rings=False).verb("recycle").failed()
    first = fleet.one if run.line(fleet.one.name, "went back") else fleet.two
    [second] = [tenant for tenant in (fleet.one, fleet.two) if tenant is not first]
    assert run.line(first.name, "went back"), run.err
    assert run.line(second.name, f"not begun: {first.name} is red"), run.err
    assert run.line("no ring `canary`"), run.err
    assert second.container()["Id"] == before[second.name]


STEPS = ["recorded", "written", "swapped", "proven"]


# Neither has to do with which container runs. A deploy repairs the first, and the second is somebody's to drop.
BENT = "ALTER ROLE memory_app_a SET work_mem = '8MB'; CREATE TABLE public.stray ()"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("step", "to"),
    [*((step, "twin") for step in STEPS), ("swapped", "forky"), ("back.written", "dies"), ("back.swapped", "dies")],
)
def test_a_killed_recycle_ends_without_a_restart_for_what_no_container_can_change(
    fleet: Fleet, step: str, to: str
) -> None:
    desired, cluster = fleet.inventory(canary=to), identity(fleet.one)
    dead = desired.verb("recycle", "--limit", "canary", PGBERTH_KILL_AT=f"recycle.{step}")
    assert dead.code == -signal.SIGKILL, dead.said
    if step == "back.written":  # nothing runs: the former container is started, once
        ends_well(fleet, desired, cluster, to)
    before = started(fleet.one)
    fleet.one.superuser(BENT)
    for _ in range(3):
        red = desired.provision("--limit", fleet.one.name).failed()
        assert red.line(fleet.one.name, "1 of ", "RED"), red.said
        assert red.line(fleet.one.name, "public-clean: ", "stray"), red.said
    assert started(fleet.one) == before
    settings = (
        "SELECT setconfig FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole WHERE rolname = 'memory_app_a'"
    )
    assert "work_mem=8MB" not in fleet.one.superuser(settings)
    assert not (fleet.one.directory / "recycling.json").exists()
    fleet.one.superuser("DROP TABLE public.stray")
    ends_well(fleet, desired, cluster, to)
    assert started(fleet.one) == before


def started(tenant: Tenant) -> tuple[str, str]:
    """Which container runs, and since when."""
    found = tenant.container()
    return found["Id"], found["State"]["StartedAt"]


def test_a_recycle_is_neither_refused_nor_undone_for_what_no_container_can_change(fleet: Fleet) -> None:
    before = fleet.one.container()["Id"]
    fleet.one.superuser(BENT)
    run = fleet.inventory().verb("recycle", "--limit", "canary").failed()
    assert run.line(fleet.one.name, "recycled: gap", " 0 lost of "), run.said
    assert run.line(fleet.one.name, "public-clean: ", "stray"), run.said
    assert not run.line("rights: "), run.said
    assert fleet.one.container()["Id"] != before
    assert newest_receipt(fleet.one)["did"]["outcome"] == "recycled"
    fleet.one.superuser("DROP TABLE public.stray")
    clean(fleet, fleet.one)
    fleet.inventory().verify("--limit", fleet.one.name).went_well()


def ends_well(fleet: Fleet, desired: Inventory, cluster: str, to: str) -> None:
    """The next deploy ends with the former container or the wanted one, on the same volume, and nothing left over."""
    next_run = desired.provision("--limit", fleet.one.name).went_well()
    assert next_run.line(fleet.one.name, "passed"), next_run.err
    allowed = {image["id"] for suite, image in fleet.images.items() if suite in ("twin", to)} | {usual(fleet)}
    assert runs(fleet.one) in allowed - {fleet.images["dies"]["id"]}
    assert identity(fleet.one) == cluster
    clean(fleet, fleet.one)
    desired.provision("--limit", fleet.one.name).changed_nothing()


def usual(fleet: Fleet) -> str:
    told: str = json.loads(fleet.machine_file.read_text())["images"][TAG]["id"]
    return told


@pytest.mark.sampled(1)
@pytest.mark.parametrize("orphan", ["runs on", "dies too"])
def test_a_recycle_killed_while_no_server_runs_and_its_command(fleet: Fleet, orphan: str) -> None:
    desired, cluster = fleet.inventory(canary="twin"), identity(fleet.one)
    # On a busy machine the short moment may pass unseen; a recycle makes a new container each time.
    assert any(killed_while_it_stops(fleet, desired, orphan) for _ in range(5)), "it never stopped the container"
    ends_well(fleet, desired, cluster, "twin")


def killed_while_it_stops(fleet: Fleet, desired: Inventory, orphan: str) -> bool:
    """Whether a recycle was killed while it took the container away, before it ended."""
    with desired.start("recycle", "--limit", "canary") as recycle:

        def stopping() -> bool:
            words = [process.argv.split() for process in processes(fleet.site.account.uid)]
            return any(argv[:2] == ["podman", "rm"] and fleet.one.name in argv for argv in words)

        eventually(lambda: recycle.poll() is not None or stopping(), seconds=180, pause=0.005)
        if recycle.poll() is not None:
            return False
        recycle.kill()
        if orphan == "dies too":
            fleet.site.kill_commands()
    return True
