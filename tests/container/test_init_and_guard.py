"""What runs inside a container, run outside of one: init.sh with a real initdb, and the guard."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgberth import commands
from pgberth.model import layout
from pgberth.model.resources import TEMPLATES
from tests.fake_podman import FakePrograms
from tests.postgres import NOBODY, Server

INIT = commands.script("container/init.sh")


def as_nobody(*command: str) -> list[str]:
    """initdb refuses root."""
    identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
    return ["setpriv", *identity, "--", *command]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A directory that the server's user may enter, unlike pytest's own."""
    place = Path(tempfile.mkdtemp(prefix="pgberth-volume-"))
    if os.getuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    yield place
    shutil.rmtree(place)


def init(volume: Path, bindir: Path) -> subprocess.CompletedProcess[str]:
    marker = volume / layout.MARKER
    arguments = ["-s", str(bindir), str(volume / "18/data"), str(marker), "acme", "1"]
    return subprocess.run(
        as_nobody("/bin/sh", *arguments), input=INIT, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )


def test_a_cluster_is_made_with_checksums_and_its_marker_says_whose_it_is(postgres18: Server, volume: Path) -> None:
    done = init(volume, postgres18.bin)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    marker = json.loads((volume / layout.MARKER).read_text())
    assert (marker["tenant"], marker["generation"], marker["major"]) == ("acme", 1, 18)
    control = subprocess.run(
        as_nobody(str(postgres18.bin / "pg_controldata"), str(volume / "18/data")),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert marker["system_identifier"] in control
    assert "Data page checksum version:           1" in control
    assert not list(volume.glob("*.new"))
    hba = (volume / "18/data/pg_hba.conf").read_text()
    assert "trust" not in [line.split()[-1] for line in hba.splitlines() if line and not line.startswith("#")]


def test_what_an_unfinished_initdb_left_in_the_volume_is_no_obstacle(postgres18: Server, volume: Path) -> None:
    subprocess.run(as_nobody("mkdir", "-p", str(volume / "18/data/base/half")), check=True)
    assert init(volume, postgres18.bin).returncode == 0
    assert (volume / layout.MARKER).exists()
    assert not (volume / "18/data/base/half").exists()


def test_a_volume_with_a_marker_is_never_initialised_again(postgres18: Server, volume: Path) -> None:
    assert init(volume, postgres18.bin).returncode == 0
    control = (volume / "18/data/global/pg_control").read_bytes()
    done = init(volume, postgres18.bin)
    assert done.returncode == 1
    assert done.stderr.startswith('acme: this volume has been initialised: {"tenant": "acme"')
    assert (volume / "18/data/global/pg_control").read_bytes() == control


@pytest.fixture
def bindir(machine: FakePrograms) -> Path:
    """Server programs that only pretend; all is well with them."""
    machine.answer("postgres", ("*", "postgres (PostgreSQL) 18.6 (Debian 18.6-1)", 0))
    machine.answer("initdb")
    machine.answer("pg_controldata", ("*", "Database system identifier:           7574928371649283746", 0))
    return machine.home / ".tools"


def pretend_init(machine: FakePrograms, bindir: Path) -> subprocess.CompletedProcess[str]:
    marker = machine.home / layout.MARKER
    return machine.run(INIT, str(bindir), str(machine.home / "18/data"), str(marker), "acme", "3")


BROKEN: dict[str, tuple[str, str, int]] = {
    "initdb": ("*", "initdb: error: no space left", 1),
    "pg_controldata": ("*", "pg_controldata: error: could not open file", 1),
    "sync": ("*", "sync: error syncing: Input/output error", 1),
    "mv": ("*", "", 1),
}


@pytest.mark.parametrize("program", BROKEN)
def test_a_cluster_that_could_not_be_made_whole_gets_no_marker(
    machine: FakePrograms, bindir: Path, program: str
) -> None:
    machine.answer(program, BROKEN[program])
    assert pretend_init(machine, bindir).returncode != 0
    assert not (machine.home / layout.MARKER).exists()


@pytest.mark.parametrize(("version", "builtin"), [("18.6 (Debian 18.6-1)", True), ("17.2", True), ("16.4", False)])
def test_a_locale_that_no_c_library_changes_is_used_where_there_is_one(
    machine: FakePrograms, bindir: Path, version: str, builtin: bool
) -> None:
    machine.answer("postgres", ("*", f"postgres (PostgreSQL) {version}", 0))
    assert pretend_init(machine, bindir).returncode == 0
    (asked,) = machine.asked("initdb")
    assert ("--builtin-locale=C.UTF-8" in asked) is builtin
    assert {"--data-checksums", "--auth-local=peer", "--auth-host=scram-sha-256"} <= set(asked)
    assert json.loads((machine.home / layout.MARKER).read_text()) == {
        "tenant": "acme",
        "generation": 3,
        "major": int(version.split(".")[0]),
        "system_identifier": "7574928371649283746",
    }


MARKED = '{"tenant": "acme", "generation": 1, "major": 18, "system_identifier": "7574928371649283746"}\n'


def guard(machine: FakePrograms) -> list[str]:
    """The guard, its volume being the machine's home."""
    text = commands.script("entrypoint/guard.sh").replace("/var/lib/postgresql", str(machine.home))
    return ["/bin/sh", "-c", text, "guard", str(machine.home / ".tools"), "/data", "/etc/pgberth", "acme"]


def test_a_volume_without_a_marker_is_not_served(machine: FakePrograms) -> None:
    machine.answer("postgres")
    done = subprocess.run(guard(machine), capture_output=True, text=True, check=False)
    assert done.returncode == 76
    assert "never initialised; not starting" in done.stderr
    assert machine.asked("postgres") == []


@pytest.mark.parametrize("tenant", ["globex", "acm", "acme-two", "xacme", "a.me"])
def test_a_volume_of_another_tenant_is_not_served(machine: FakePrograms, tenant: str) -> None:
    machine.answer("postgres")
    (machine.home / layout.MARKER).write_text(MARKED.replace("acme", tenant))
    done = subprocess.run(guard(machine), capture_output=True, text=True, check=False)
    assert done.returncode == 76
    assert f"initialised for another tenant than acme: {MARKED.replace('acme', tenant)[:-1]}; not" in done.stderr
    assert machine.asked("postgres") == []


def test_a_marker_that_cannot_be_read_is_called_that_and_not_another_tenants(volume: Path) -> None:
    marker = volume / layout.MARKER
    marker.write_text(MARKED)
    marker.chmod(0)
    text = (TEMPLATES / "entrypoint/guard.sh").read_text().replace("/var/lib/postgresql", str(volume))
    done = subprocess.run(
        as_nobody("/bin/sh", "-s", "/bin", "/data", "/etc/pgberth", "acme"),
        input=text,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 76
    assert done.stderr == (
        f"pgberth: this volume's marker belongs to user {os.getuid()}, and cannot be read; not starting\n"
    )


def test_a_volume_with_a_marker_is_served_with_our_configuration(machine: FakePrograms) -> None:
    machine.answer("postgres")
    (machine.home / layout.MARKER).write_text(MARKED)
    assert subprocess.run(guard(machine), check=False).returncode == 0
    (asked,) = machine.asked("postgres")
    assert asked == [
        *("-D", "/data", "-c", "config_file=/etc/pgberth/postgresql.conf"),
        *("-c", "hba_file=/etc/pgberth/pg_hba.conf", "-c", "ident_file=/etc/pgberth/pg_ident.conf"),
    ]


def test_a_volume_is_never_served_twice_at_once_and_the_second_says_by_whom(machine: FakePrograms) -> None:
    (machine.home / layout.MARKER).write_text(MARKED)
    server = machine.home / ".tools/postgres"
    server.write_text("#!/bin/sh\necho up\nsleep 300 & wait\n")
    server.chmod(0o755)
    with subprocess.Popen(guard(machine), stdout=subprocess.PIPE, text=True, start_new_session=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "up\n"
        second = subprocess.run(guard(machine), capture_output=True, text=True, check=False)
        os.kill(first.pid, 9)  # the server dies, one of its children does not: the volume is still in use
        first.wait()
        third = subprocess.run(guard(machine), capture_output=True, text=True, check=False)
        os.killpg(first.pid, 9)
    assert second.returncode == third.returncode == 75
    assert f"in use by container {socket.gethostname()}; not starting" in second.stderr
    server.write_text("#!/bin/sh\necho up\n")
    deadline = time.monotonic() + 5  # a killed process holds the lock until the kernel is done with it
    while (code := subprocess.run(guard(machine), capture_output=True, check=False).returncode) == 75:
        assert time.monotonic() < deadline
    assert code == 0
