"""start.sh, run for real beside a podman that only pretends."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import string
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pgberth import commands
from pgberth.model import layout
from tests.fake_podman import FakePrograms
from tests.sample import IMAGE, MARKER, READY, SYSTEM
from tests.volume import marked, tree_hash

START, SWAP = commands.script("container/start.sh"), commands.script("container/swap.sh")
DIRECTORY = layout.directory("acme")
VOLUME = layout.volume("acme", 1)
SERVICE = "pgberth-acme.service"
QUADLET = f"{layout.QUADLETS}/pgberth-acme.container"
PLAIN = f"{layout.UNITS}/{SERVICE}"
WANTED = f"{layout.UNITS}/default.target.wants/{SERVICE}"


def start(
    machine: FakePrograms, port: int, seconds: int = 3, unit: str = "", file: str = "", swap: bool = False
) -> subprocess.CompletedProcess[str]:
    place = machine.home / DIRECTORY
    place.mkdir(parents=True, exist_ok=True)
    told = ["acme", IMAGE.bindir, f"{port:04X}", str(seconds), VOLUME, layout.log("acme"), file]
    if swap:
        return machine.run(SWAP + START, "10", *told, "--detach", IMAGE.id, stdin=unit)
    return machine.run(START, *told, "--detach", IMAGE.id, stdin=unit)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def containers(
    machine: FakePrograms, *more: tuple[str, str, int], there: bool = False, status: str = "4711 running 0"
) -> None:
    machine.answer("pgrep", ("*", "", 1))
    if not (machine.home / "volume").exists():
        marked(machine.home / "volume")
    machine.answer(
        "podman",
        ("container exists *", "", 0 if there else 1),
        ("container inspect *", status, 0),
        ("volume inspect *", str(machine.home / "volume"), 0),
        *more,
    )


def test_a_container_is_run_and_waited_for(machine: FakePrograms, free_port: int) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    done = start(machine, free_port)
    assert (done.returncode, done.stderr) == (0, "")
    assert ["run", "--detach", IMAGE.id] in machine.asked()
    assert not [call for call in machine.asked() if call[0] == "rm"]


STATES = {"starting": False, "ready   ": True, "standby ": False}


@pytest.mark.parametrize("state", STATES)
def test_the_socket_is_asked_once_the_server_s_own_file_says_ready_and_else_once_a_second(
    machine: FakePrograms, free_port: int, state: str
) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "", 1))
    told = machine.home / "volume/18/data/postmaster.pid"
    told.write_text(f"1\n/var/lib/postgresql/18/data\n1790000000\n5432\n/run/postgresql\n*\n  123  456\n{state}\n")
    assert start(machine, free_port, seconds=2).returncode == 1
    asked = len(machine.asked("nsenter"))
    assert asked > 10 if STATES[state] else 1 <= asked <= 3


def test_an_old_container_goes_first(machine: FakePrograms, free_port: int) -> None:
    containers(machine, there=True)
    machine.answer("nsenter", ("*", "1", 0))
    assert start(machine, free_port).returncode == 0
    verbs = [call[0] for call in machine.asked()]
    assert verbs.index("rm") < verbs.index("run")


def test_a_port_that_is_taken_is_said_with_its_owner_and_nothing_is_started(machine: FakePrograms) -> None:
    containers(machine)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(machine, port)
    assert done.returncode == 1
    comm = Path("/proc/self/comm").read_text().strip()
    assert done.stderr.startswith(f"acme: port 127.0.0.1:{port} is taken by pid {os.getpid()} ({comm})\nHINT: ")
    assert not [call for call in machine.asked() if call[0] in ("rm", "run")]


def test_a_listener_on_another_address_takes_nothing_from_the_server(machine: FakePrograms) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    with socket.create_server(("127.0.0.2", 0)) as other:
        assert start(machine, other.getsockname()[1]).returncode == 0


def test_a_connection_from_that_port_is_not_taken_for_a_listener(machine: FakePrograms) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(other.getsockname()) as client,
    ):
        assert start(machine, client.getsockname()[1]).returncode == 0


def test_a_podman_that_refuses_to_run_it_is_a_failure(machine: FakePrograms, free_port: int) -> None:
    containers(machine, ("run *", "", 126))
    assert start(machine, free_port).returncode == 1


def logged(*lines: str) -> str:
    """Lines of the server's log as podman writes them."""
    return "".join(f"2026-11-25T12:00:00.000000000+00:00 stderr F {line}\n" for line in lines)


def speaking(machine: FakePrograms, program: str, when: str, *lines: str) -> None:
    """The server says these lines when it is started by this program."""
    log = machine.home / layout.log("acme")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(logged("LOG:  of a former life"))
    machine.also(program, when, f"printf '%s' {shlex.quote(logged(*lines))} >> {shlex.quote(str(log))}")


def test_a_server_that_ends_at_once_is_said_with_its_last_words_and_no_older_ones(
    machine: FakePrograms, free_port: int
) -> None:
    containers(machine, status="0 exited 75")
    speaking(machine, "podman", "run *", "FATAL:  could not create any TCP/IP sockets")
    done = start(machine, free_port)
    assert done.returncode == 1
    words = "acme: the server ended with exit code 75 before it answered; its last words:"
    assert f"{words}\nFATAL:  could not create any TCP/IP sockets\nHINT: no data was touched" in done.stderr


def test_a_server_that_never_answers_is_given_up_in_its_own_words(machine: FakePrograms, free_port: int) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "FATAL:  the database system is starting up", 2))
    began = time.monotonic()
    done = start(machine, free_port, seconds=1)
    assert done.returncode == 1
    assert "did not answer within 1 s: FATAL:  the database system is starting up" in done.stderr
    assert time.monotonic() - began < 30  # the usual 30 s would make it longer


def test_a_server_is_asked_through_podman_where_the_namespaces_are_closed(
    machine: FakePrograms, free_port: int
) -> None:
    containers(machine, ("exec acme *", "1", 0))
    machine.answer("nsenter", ("*", "nsenter: Permission denied", 1))
    assert start(machine, free_port).returncode == 0


UNIT = "[Container]\nContainerName=acme\nPodmanArgs=--label=x=50%%\n"


@pytest.mark.parametrize("file", [QUADLET, PLAIN])
def test_where_systemd_supervises_the_unit_is_written_and_started_instead(
    machine: FakePrograms, free_port: int, file: str
) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    machine.answer("systemctl")
    assert start(machine, free_port, unit=UNIT, file=file).returncode == 0
    assert (machine.home / file).read_text() == UNIT
    assert [path.name for path in (machine.home / file).parent.iterdir() if path.is_file()] == [Path(file).name]
    # Quadlet's generator does this itself, from the unit's [Install].
    assert (machine.home / WANTED).is_symlink() is (file == PLAIN)
    assert [call[1] for call in machine.asked("systemctl")] == ["stop", "reset-failed", "daemon-reload", "start"]
    assert not [call for call in machine.asked() if call[0] == "run"]


@pytest.mark.parametrize("file", [QUADLET, PLAIN, ""])
def test_what_another_supervisor_left_is_gone_before_this_one_starts(
    machine: FakePrograms, free_port: int, file: str
) -> None:
    containers(machine, there=True)
    machine.answer("nsenter", ("*", "1", 0))
    machine.answer("systemctl")
    for other in (QUADLET, PLAIN, WANTED):
        (machine.home / other).parent.mkdir(parents=True, exist_ok=True)
        (machine.home / other).write_text("of another supervisor\n")
    assert start(machine, free_port, unit=UNIT if file else "", file=file).returncode == 0
    left = {path.relative_to(machine.home).as_posix() for path in machine.home.rglob("pgberth-acme.*")}
    assert left == ({file} - {""}) | ({WANTED} if file == PLAIN else set())
    calls = [call[1] for call in machine.asked("systemctl")]
    assert calls[:2] == ["stop", "reset-failed"]
    assert "daemon-reload" in calls


def test_a_unit_that_does_not_start_is_a_failure_with_systemds_own_words(machine: FakePrograms, free_port: int) -> None:
    containers(machine)
    machine.answer(
        "systemctl",
        ("--user start *", "", 1),
        ("--user show *", "exit-code", 0),
        ("--user status *", "volume acme-data-g1 is gone", 3),
        ("*", "", 0),
    )
    done = start(machine, free_port, unit=UNIT, file=QUADLET)
    assert done.returncode == 1
    assert f"acme: its unit {SERVICE} did not start: exit-code\nvolume acme-data-g1 is gone\nHINT: " in done.stderr


def test_a_server_that_systemd_starts_again_is_waited_for(machine: FakePrograms, free_port: int) -> None:
    containers(machine, status="0 exited 137")
    machine.answer("systemctl", ("--user is-active *", "activating", 3), ("*", "", 0))
    done = start(machine, free_port, seconds=1, unit=UNIT, file=PLAIN)
    assert done.returncode == 1
    assert "acme: the server did not answer within 1 s" in done.stderr


def test_a_server_that_systemd_gave_up_is_given_up(machine: FakePrograms, free_port: int) -> None:
    containers(machine, status="")
    machine.answer("systemctl", ("--user is-active *", "failed", 3), ("--user show *", "76", 0), ("*", "", 0))
    speaking(machine, "systemctl", "--user start *", "pgberth: this volume was never initialised; not starting")
    done = start(machine, free_port, unit=UNIT, file=PLAIN)
    assert done.returncode == 1
    words = "acme: the server ended with exit code 76 before it answered; its last words:"
    assert f"{words}\npgberth: this volume was never initialised; not starting\nHINT: " in done.stderr


def test_systemd_is_not_asked_where_it_does_not_supervise(machine: FakePrograms, free_port: int) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    machine.answer("systemctl", ("*", "", 1))
    assert start(machine, free_port).returncode == 0
    assert machine.asked("systemctl") == []


@pytest.mark.parametrize("file", [QUADLET, PLAIN, ""])
def test_a_volume_that_is_gone_is_said_and_no_empty_one_is_made(
    machine: FakePrograms, free_port: int, file: str
) -> None:
    containers(machine, there=True)
    machine.answer("podman", ("volume inspect *", "", 125), ("*", "", 0))
    machine.answer("systemctl")
    done = start(machine, free_port, unit=UNIT if file else "", file=file)
    assert done.returncode == 1
    assert done.stderr.startswith("acme: its volume acme-data-g1 is gone\nHINT: nothing was started")
    assert not [call for call in machine.asked() if call[0] in ("rm", "run")]
    assert "start" not in [call[1] for call in machine.asked("systemctl")]


def other_cluster(place: Path) -> None:
    (place / "18/data/global/pg_control").write_bytes(bytes([1]) + bytes(8191))


def linked(place: Path, part: str) -> None:
    (place / part).rename(place.parent / "elsewhere")
    (place / part).symlink_to(place.parent / "elsewhere")


def instead(path: Path, make: Callable[[Path], object]) -> None:
    """Something else is in the place of what is there."""
    path.rename(path.parent / "elsewhere")
    make(path)


def rewritten(**changes: object) -> Callable[[Path], object]:
    return lambda place: (place / layout.MARKER).write_text(json.dumps({**MARKER, **changes}))


# What happened to the volume -> why no server is started on it.
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no marker": (lambda place: (place / layout.MARKER).unlink(), "has no marker"),
    "another tenant's marker": (rewritten(tenant="globex"), 'was initialised for another: {"tenant": "globex"'),
    "another generation's marker": (rewritten(generation=2), "has the marker of generation 2"),
    "another cluster's marker": (
        rewritten(system_identifier="8"),
        f"holds the cluster {SYSTEM}, and its marker names 8",
    ),
    "another cluster": (other_cluster, f"holds the cluster 1, and its marker names {SYSTEM}"),
    "an empty marker": (lambda place: (place / layout.MARKER).write_text(""), "has a marker that is not understood: "),
    "half a marker": (
        lambda place: (place / layout.MARKER).write_text('{"tenant": "acme", "gen'),
        'has a marker that is not understood: {"tenant": "acme", "gen',
    ),
    "a marker that moves the cursor": (
        lambda place: (place / layout.MARKER).write_text("\x1b[2J\n"),
        "has a marker that is not understood: [2J",
    ),
    "a directory for a marker": (
        lambda place: instead(place / layout.MARKER, Path.mkdir),
        "has a marker that cannot be read",
    ),
    "a pipe for a marker": (
        lambda place: instead(place / layout.MARKER, os.mkfifo),
        "has a marker that cannot be read",
    ),
    "a link for a marker": (lambda place: linked(place, layout.MARKER), "has a link in the place of its marker"),
    "a link for its data": (lambda place: linked(place, "18/data"), "has a link in the place of 18/data"),
    "a link for a control file": (
        lambda place: linked(place, "18/data/global/pg_control"),
        "has a link in the place of 18/data/global/pg_control",
    ),
    "no cluster": (
        lambda place: shutil.rmtree(place / "18"),
        "has a marker, and no cluster that can be read in 18/data",
    ),
    "a file for a volume": (lambda place: instead(place, Path.touch), "cannot be read"),
    "a link to nowhere": (lambda place: instead(place, lambda path: path.symlink_to("nowhere")), "cannot be read"),
}


@pytest.mark.parametrize("swap", [False, True], ids=["start", "swap"])
@pytest.mark.parametrize("what", FOREIGN)
def test_no_server_is_started_on_what_is_not_shown_to_be_its_own_data(
    machine: FakePrograms, free_port: int, what: str, swap: bool
) -> None:
    containers(machine, there=True)
    machine.answer("systemctl")
    act, why = FOREIGN[what]
    act(machine.home / "volume")
    before = tree_hash(machine.home / "volume")
    done = start(machine, free_port, unit=UNIT, file=PLAIN, swap=swap)
    assert done.returncode == 1
    assert done.stderr.startswith(f"acme: its volume acme-data-g1 {why}")
    touched = "stopped" if swap else "started"
    assert f"\nHINT: nothing was {touched}; runbooks/foreign-volume.md\n" in done.stderr
    assert done.stderr.isprintable() or set(done.stderr) - set(string.printable) == set()
    assert not [call for call in machine.asked() if call[0] in ("rm", "run", "kill", "stop")]
    assert machine.asked("systemctl") == []
    assert tree_hash(machine.home / "volume") == before


def test_nothing_is_taken_away_where_the_image_is_gone(machine: FakePrograms, free_port: int) -> None:
    containers(machine, ("image exists *", "", 1), there=True)
    done = start(machine, free_port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"acme: image {IMAGE.id} is not in podman's store any more\nHINT: ")
    assert not [call for call in machine.asked() if call[0] in ("rm", "run")]


@pytest.mark.parametrize(("recorded", "desired"), [("runc", ["--runtime", "runc"]), ("", []), ("r; id", [])])
def test_the_container_runs_by_the_runtime_that_was_found_to_work(
    machine: FakePrograms, free_port: int, recorded: str, desired: list[str]
) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    (machine.home / DIRECTORY).mkdir(parents=True)
    (machine.home / layout.MACHINE_FILE).write_text(replace(READY, runtime=recorded).to_json())
    assert start(machine, free_port).returncode == 0
    assert [*desired, "run", "--detach", IMAGE.id] in machine.asked()
