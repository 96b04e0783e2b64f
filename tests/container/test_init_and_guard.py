"""What runs inside a container, run outside of one: init.sh with a real initdb, and the guard."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgberth import commands
from pgberth.model import layout
from pgberth.model.resources import TEMPLATES
from tests.fake_podman import FakePrograms
from tests.postgres import NOBODY, Server
from tests.sample import MARKER
from tests.volume import NOTE, begun, cluster, tree_hash

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
    shutil.rmtree(place.with_name(f"{place.name}-elsewhere"), ignore_errors=True)


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


def own(volume: Path) -> None:
    """The server's user has made all of it."""
    for path in [volume, *volume.rglob("*")] if os.getuid() == 0 else []:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def test_what_a_killed_initialisation_left_is_made_again(postgres18: Server, volume: Path) -> None:
    begun(volume)
    own(volume)
    assert init(volume, postgres18.bin).returncode == 0
    assert not (volume / "18/data/base/half").exists()
    assert {path.name for path in volume.iterdir()} == {layout.MARKER, "18"}


def test_a_kill_at_any_moment_leaves_a_volume_that_the_next_initialisation_completes(
    postgres18: Server, volume: Path
) -> None:
    """Each state has the note or the marker, never both: what has the note may be made again."""
    arguments = ["-s", str(postgres18.bin), str(volume / "18/data"), str(volume / layout.MARKER), "acme", "1"]
    for seconds in (0.02, 0.1, 0.3, 0.6):
        with subprocess.Popen(
            as_nobody("/bin/sh", *arguments), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        ) as killed:
            assert killed.stdin is not None
            killed.stdin.write(INIT.encode())
            killed.stdin.close()
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(killed.pid, 9)
        assert not ((volume / NOTE).exists() and (volume / layout.MARKER).exists())
        if (volume / layout.MARKER).exists():
            return
        assert asked_of_lib("unmarked_data", volume) in ("", "begun")
    assert init(volume, postgres18.bin).returncode == 0


def _directory_for_a_note(place: Path) -> None:
    (place / NOTE).mkdir()


STRANGE: dict[str, Callable[[Path], object]] = {
    "a cluster": cluster,
    "a cluster that an older release began": lambda place: (place / "18/data/base/half").mkdir(parents=True),
    "a file": lambda place: (place / "notes.txt").write_text("keep"),
    "a directory with the note's name": _directory_for_a_note,
    "a cluster in the note's place": lambda place: cluster(place / NOTE),
    "a cluster beside a note": lambda place: (begun(place), (place / "18/data/postmaster.opts").write_text("x")),
}


@pytest.mark.parametrize("what", STRANGE)
def test_an_initialisation_touches_nothing_that_another_one_did_not_leave(
    postgres18: Server, volume: Path, what: str
) -> None:
    STRANGE[what](volume)
    own(volume)
    before = tree_hash(volume)
    done = init(volume, postgres18.bin)
    assert done.returncode == 1
    assert done.stderr.startswith("acme: ")
    assert tree_hash(volume) == before


def asked_of_lib(function: str, volume: Path, *, generation: int = 1) -> str:
    lib = commands.script("container/list-volumes.sh").partition("# The tenant's volumes")[0]
    told = ["/bin/sh", "-c", f'{lib}{function} acme {generation} "$1"', "x", str(volume)]
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()


def _another_major(place: Path) -> None:
    (begun(place) / "17").mkdir()


def linked_data(place: Path) -> None:
    begun(place)
    (place / "18/data").rename(place.parent / f"{place.name}-elsewhere")
    (place / "18/data").symlink_to(place.parent / f"{place.name}-elsewhere")


# What a volume without a marker holds.
UNMARKED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda _: None, ""),
    "a note alone": (lambda place: (place / NOTE).write_text(""), "begun"),
    "half a note": (lambda place: (place / f"{NOTE}.new").write_text("{"), "begun"),
    "a killed initialisation": (begun, "begun"),
    "one that was about to get its marker": (
        lambda place: (begun(place), (place / NOTE).write_text(json.dumps(MARKER))),
        "begun",
    ),
    "another tenant's": (lambda place: begun(place, tenant="globex"), "data"),
    "that of a tenant whose name begins so": (lambda place: begun(place, tenant="acme-two"), "data"),
    "another generation's": (lambda place: begun(place, generation=12), "data"),
    "a cluster that was moved away": (linked_data, "data"),
    "a cluster that was started": (
        lambda place: (begun(place), (place / "18/data/postmaster.opts").write_text("")),
        "data",
    ),
    "a base backup": (lambda place: (begun(place), (place / "18/data/backup_label").write_text("")), "data"),
    "a file beside it": (lambda place: (begun(place), (place / "notes").write_text("")), "data"),
    "another major beside it": (_another_major, "data"),
    "a file beside its data": (lambda place: (begun(place), (place / "18/notes").write_text("")), "data"),
    "a cluster": (cluster, "data"),
    "a hidden file": (lambda place: (place / ".keep").write_text(""), "data"),
    "a pipe for a note": (lambda place: os.mkfifo(place / NOTE), "data"),
    "a cluster in the note's place": (lambda place: cluster(place / NOTE), "data"),
}


@pytest.mark.parametrize("what", UNMARKED)
def test_only_what_a_killed_initialisation_of_that_volume_left_may_be_made_again(volume: Path, what: str) -> None:
    plant, holds = UNMARKED[what]
    plant(volume)
    assert asked_of_lib("unmarked_data", volume) == holds


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
    place = machine.home / "volume"
    place.mkdir()
    return machine.run(INIT, str(bindir), str(place / "18/data"), str(place / layout.MARKER), "acme", "3")


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
    assert not (machine.home / "volume" / layout.MARKER).exists()


@pytest.mark.parametrize(("version", "builtin"), [("18.6 (Debian 18.6-1)", True), ("17.2", True), ("16.4", False)])
def test_a_locale_that_no_c_library_changes_is_used_where_there_is_one(
    machine: FakePrograms, bindir: Path, version: str, builtin: bool
) -> None:
    machine.answer("postgres", ("*", f"postgres (PostgreSQL) {version}", 0))
    assert pretend_init(machine, bindir).returncode == 0
    (asked,) = machine.asked("initdb")
    assert ("--builtin-locale=C.UTF-8" in asked) is builtin
    assert {"--data-checksums", "--auth-local=peer", "--auth-host=scram-sha-256"} <= set(asked)
    assert json.loads((machine.home / "volume" / layout.MARKER).read_text()) == {
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


@pytest.mark.parametrize("said", ["7574928371649283747", "", "75749283716492837460"])
def test_another_cluster_under_the_tenants_marker_is_not_served(machine: FakePrograms, said: str) -> None:
    machine.answer("postgres")
    machine.answer("pg_controldata", ("*", f"Database system identifier:           {said}", 0))
    (machine.home / layout.MARKER).write_text(MARKED)
    done = subprocess.run(guard(machine), capture_output=True, text=True, check=False)
    assert done.returncode == 76
    assert (
        f"this volume holds the cluster {said or 'unknown'}, and its marker is another's: {MARKED[:-1]}" in done.stderr
    )
    assert machine.asked("postgres") == []
    assert {path.name for path in machine.home.iterdir()} == {".tools", layout.MARKER}


def test_a_volume_with_a_marker_is_served_with_our_configuration(machine: FakePrograms, bindir: Path) -> None:
    machine.answer("postgres")
    (machine.home / layout.MARKER).write_text(MARKED)
    assert subprocess.run(guard(machine), check=False).returncode == 0
    (asked,) = machine.asked("postgres")
    assert asked == [
        *("-D", "/data", "-c", "config_file=/etc/pgberth/postgresql.conf"),
        *("-c", "hba_file=/etc/pgberth/pg_hba.conf", "-c", "ident_file=/etc/pgberth/pg_ident.conf"),
    ]


def test_a_volume_is_never_served_twice_at_once_and_the_second_says_by_whom(
    machine: FakePrograms, bindir: Path
) -> None:
    (machine.home / layout.MARKER).write_text(MARKED)
    server = bindir / "postgres"
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
