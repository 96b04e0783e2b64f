"""start.sh, run for real beside a podman that only pretends."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pgberth import commands
from pgberth.model import layout
from tests.fake_podman import FakePrograms
from tests.sample import IMAGE, READY

START = commands.script("container/start.sh")
DIRECTORY = layout.directory("acme")


def start(machine: FakePrograms, port: int, seconds: int = 3, unit: str = "") -> subprocess.CompletedProcess[str]:
    place = machine.home / DIRECTORY
    place.mkdir(parents=True, exist_ok=True)
    arguments = ["acme", IMAGE.bindir, f"{port:04X}", str(seconds), f"{DIRECTORY}/previous.log", "--detach", IMAGE.id]
    return machine.run(START, *arguments, stdin=unit)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def containers(
    machine: FakePrograms, *more: tuple[str, str, int], there: bool = False, status: str = "4711 running 0"
) -> None:
    machine.answer("pgrep", ("*", "", 1))
    machine.answer(
        "podman",
        ("container exists *", "", 0 if there else 1),
        ("container inspect *", status, 0),
        ("logs *", "FATAL:  could not create any TCP/IP sockets", 0),
        *more,
    )


def test_a_container_is_run_and_waited_for(machine: FakePrograms, free_port: int) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    done = start(machine, free_port)
    assert (done.returncode, done.stderr) == (0, "")
    assert ["run", "--detach", IMAGE.id] in machine.asked()
    assert not [call for call in machine.asked() if call[0] == "rm"]


def test_an_old_container_goes_first_and_its_last_words_are_kept(machine: FakePrograms, free_port: int) -> None:
    containers(machine, there=True)
    machine.answer("nsenter", ("*", "1", 0))
    assert start(machine, free_port).returncode == 0
    verbs = [call[0] for call in machine.asked()]
    assert verbs.index("logs") < verbs.index("rm") < verbs.index("run")
    assert "could not create" in (machine.home / DIRECTORY / "previous.log").read_text()


def test_a_port_that_is_taken_is_said_with_its_owner_and_nothing_is_started(machine: FakePrograms) -> None:
    containers(machine)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(machine, port)
    assert done.returncode == 1
    comm = Path("/proc/self/comm").read_text().strip()
    assert done.stderr.startswith(f"acme: port 127.0.0.1:{port} is taken by pid {os.getpid()} ({comm})\nHINT: ")
    assert machine.asked() == []


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


def test_a_server_that_ends_at_once_is_said_with_its_last_words(machine: FakePrograms, free_port: int) -> None:
    containers(machine, status="0 exited 75")
    done = start(machine, free_port)
    assert done.returncode == 1
    assert "acme: the server ended with exit code 75 before it answered; its last words:" in done.stderr
    assert "could not create any TCP/IP sockets" in done.stderr
    assert "HINT: no data was touched" in done.stderr


def test_a_server_that_never_answers_is_given_up_in_its_own_words(machine: FakePrograms, free_port: int) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "FATAL:  the database system is starting up", 2))
    began = time.monotonic()
    done = start(machine, free_port, seconds=1)
    assert done.returncode == 1
    assert "did not answer within 1 s: FATAL:  the database system is starting up" in done.stderr
    assert time.monotonic() - began < 10


def test_a_server_is_asked_through_podman_where_the_namespaces_are_closed(
    machine: FakePrograms, free_port: int
) -> None:
    containers(machine, ("exec acme *", "1", 0))
    machine.answer("nsenter", ("*", "nsenter: Permission denied", 1))
    assert start(machine, free_port).returncode == 0


UNIT = "[Container]\nContainerName=acme\nPodmanArgs=--label=x=50%%\n"


def test_where_systemd_supervises_the_unit_is_written_and_started_instead(
    machine: FakePrograms, free_port: int
) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    machine.answer("systemctl")
    assert start(machine, free_port, unit=UNIT).returncode == 0
    place = machine.home / ".config/containers/systemd"
    assert (place / "acme.container").read_text() == UNIT
    assert [path.name for path in place.iterdir()] == ["acme.container"]
    assert [call[1] for call in machine.asked("systemctl")] == ["stop", "reset-failed", "daemon-reload", "start"]
    assert not [call for call in machine.asked() if call[0] == "run"]


def test_a_unit_that_does_not_start_is_a_failure(machine: FakePrograms, free_port: int) -> None:
    containers(machine)
    machine.answer("systemctl", ("--user start *", "", 1), ("*", "", 0))
    assert start(machine, free_port, unit=UNIT).returncode == 1


def test_systemd_is_not_asked_where_it_does_not_supervise(machine: FakePrograms, free_port: int) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    machine.answer("systemctl", ("*", "", 1))
    assert start(machine, free_port).returncode == 0
    assert machine.asked("systemctl") == []


def test_nothing_is_taken_away_where_the_image_is_gone(machine: FakePrograms, free_port: int) -> None:
    containers(machine, ("image exists *", "", 1), there=True)
    done = start(machine, free_port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"acme: image {IMAGE.id} is not in podman's store any more\nHINT: ")
    assert not [call for call in machine.asked() if call[0] in ("rm", "run")]


@pytest.mark.parametrize(("recorded", "wanted"), [("runc", ["--runtime", "runc"]), ("", []), ("r; id", [])])
def test_the_container_runs_by_the_runtime_that_was_found_to_work(
    machine: FakePrograms, free_port: int, recorded: str, wanted: list[str]
) -> None:
    containers(machine)
    machine.answer("nsenter", ("*", "1", 0))
    (machine.home / DIRECTORY).mkdir(parents=True)
    (machine.home / layout.MACHINE_FILE).write_text(replace(READY, runtime=recorded).to_json())
    assert start(machine, free_port).returncode == 0
    assert [*wanted, "run", "--detach", IMAGE.id] in machine.asked()
