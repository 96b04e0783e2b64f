"""observe.sh, run for real beside a podman that only pretends."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import replace

import pytest

from pgberth.container.context import TenantObservation
from pgberth.container.state import TenantState
from pgberth.model import layout
from pgberth.model.diagnosis import own_words
from pgberth.model.spec_file import SpecFile
from tests.fake_host import Sent, as_sent
from tests.fake_podman import FakePrograms
from tests.sample import ABSENT, ACME, MARKER, PROCESS, READY, container, inspected, server, spec_file, state

DIRECTORY = layout.directory("acme")
QUADLET = f"{layout.QUADLETS}/pgberth-acme.container"
PLAIN = f"{layout.UNITS}/pgberth-acme.service"


def observed(machine: FakePrograms, sql: str = "SELECT 1") -> TenantState:
    asked = TenantObservation().command(tenant="acme")
    done = machine.run(Sent(as_sent(asked).text, sql))
    assert done.returncode == 0
    found = TenantState.parse(done.stdout.splitlines())
    assert (found.free_kib or 0) > 0
    return replace(found, free_kib=None)


def test_an_observation_of_an_empty_machine_finds_nothing_and_changes_nothing(machine: FakePrograms) -> None:
    machine.answer("podman", ("*", 'Error: inspecting object: no such container "acme"', 125))
    assert observed(machine) == state(machine_profile=None, **ABSENT)
    assert {path.name for path in machine.home.iterdir()} == {".tools", ".local"}


def test_a_podman_that_nobody_has_configured_is_not_asked(machine: FakePrograms) -> None:
    machine.answer("podman")
    (machine.home / ".local/share/containers").rmdir()
    assert observed(machine) == state(machine_profile=None, **ABSENT)
    assert machine.asked() == []


def test_an_observation_finds_the_tenants_files(machine: FakePrograms) -> None:
    machine.answer("podman", ("*", "Error: no such container acme", 125))
    place = machine.home / DIRECTORY
    (place / "secrets").mkdir(parents=True)
    (place / "etc").mkdir()
    (machine.home / layout.MACHINE_FILE).write_text(READY.to_json())
    (place / "spec.json").write_text(json.dumps(spec_file()))
    (place / "secrets/app-v1").write_text("x")
    (place / "secrets/.app-v2.new").write_text("half")
    (place / "etc/pg_hba.conf").write_text("local all all reject\n")
    (place / "passfile").write_text("x")
    (place / "passfile").chmod(0o640)
    (place / "secrets/app-v1").chmod(0o600)
    (place / "etc/pg_hba.conf").chmod(0o600)
    for unit in (QUADLET, PLAIN):
        (machine.home / unit).parent.mkdir(parents=True)
        (machine.home / unit).write_text(unit)
    found = observed(machine)
    assert (found.machine_profile, found.spec, found.secrets) == (READY, SpecFile(spec_file()), frozenset({"app-v1"}))
    assert set(found.files) == {"etc/pg_hba.conf", "passfile"}
    assert found.modes == {"etc/pg_hba.conf": "600", "secrets/app-v1": "600", "passfile": "640"}
    assert found.units == {unit: hashlib.sha256(unit.encode()).hexdigest() for unit in (QUADLET, PLAIN)}


@pytest.mark.parametrize(
    ("kept", "there", "none"),
    [
        ("volumes", [], True),
        ("volumes", ["globex-data-g1", "acme-two-data-g1"], True),
        ("volumes", ["acme-data-g12"], False),
        ("elsewhere", [], False),
        ("", [], False),
    ],
)
def test_no_volume_is_certain_only_where_podmans_place_for_them_is_known_and_holds_none(
    machine: FakePrograms, kept: str, there: list[str], none: bool
) -> None:
    machine.answer("podman", ("*", "Error: no such container acme", 125))
    machine_profile = replace(READY, volumes=str(machine.home / kept) if kept else "")
    (machine.home / layout.MACHINE_FILE).parent.mkdir(parents=True)
    (machine.home / layout.MACHINE_FILE).write_text(machine_profile.to_json())
    for name in ["volumes", *(f"volumes/{one}" for one in there)]:
        (machine.home / name).mkdir()
    assert observed(machine).no_volume is none


@pytest.mark.parametrize("said", ["Error: database is locked", "Cannot connect to Podman", "panic: x"])
def test_a_podman_that_fails_otherwise_is_unknown_not_absent(machine: FakePrograms, said: str) -> None:
    machine.answer("podman", ("*", said, 125))
    found = observed(machine)
    assert (found.container, found.unknown) == (None, said)


@pytest.fixture
def running(machine: FakePrograms) -> FakePrograms:
    """acme's container runs: its server is this test's own process, as far as /proc can tell."""
    machine.answer("podman", ("container inspect *", inspected(pid=os.getpid()), 0))
    return machine


def test_an_observation_of_a_running_tenant_asks_its_server(running: FakePrograms) -> None:
    running.answer("nsenter", ("* cat *", json.dumps(MARKER), 0), ("* psql *", "", 1), ("*", json.dumps(server()), 0))
    found = observed(running)
    assert (found.marker, found.answer) == (MARKER, server())
    assert found.container is not None
    assert set(found.container.process) == set(PROCESS)
    assert found.container.pid == os.getpid()
    assert found.container.spec_hash == container().spec_hash


def test_the_server_is_reached_through_podman_where_the_namespaces_are_closed(running: FakePrograms) -> None:
    running.answer("nsenter", ("*", "nsenter: cannot open /proc/1/ns/user: Permission denied", 1))
    running.answer(
        "podman",
        ("container inspect *", inspected(pid=os.getpid()), 0),
        ("exec -i acme *", json.dumps(server()), 0),
    )
    assert observed(running).answer == server()


def test_an_observation_of_a_server_that_is_down_keeps_its_words(running: FakePrograms) -> None:
    running.answer("nsenter", ("*", "psql: error: No such file or directory", 2))
    found = observed(running)
    assert (found.answer, found.server_error) == (None, "psql: error: No such file or directory")


TITLES = {
    "postgres: memory_app_a memory 10.0.2.100(33822) idle in transaction (aborted)": True,
    "postgres: memory_app_b memory [local] INSERT": True,
    "postgres: memory_app_a memory 10.0.2.100(33823) idle": False,
    "postgres: memory_app_a memory 10.0.2.100(33824) authentication": False,
    "postgres: memory_app_a memory 10.0.2.100(1) idle in transaction\npid 1 (postgres": False,
    "postgres: checkpointer": False,
}


def test_where_the_server_has_no_memory_for_locks_the_process_table_says_who_is_in_a_transaction(
    running: FakePrograms,
) -> None:
    running.answer("nsenter", ("*", "psql: error: FATAL:  out of shared memory\nHINT:  x", 2))
    running.answer("sleep")
    idle = shutil.which("cat")
    with ExitStack() as open_until_the_end:  # then their input is closed, which ends them
        processes = [
            open_until_the_end.enter_context(subprocess.Popen([title], executable=idle, stdin=subprocess.PIPE))
            for title in TITLES
        ]
        found = observed(running)
    said = own_words(found.server_error)
    assert said.startswith("out of shared memory: in a transaction are pid ")
    for process, (title, named) in zip(processes, TITLES.items(), strict=True):
        assert (f"pid {process.pid} (" in said) is named, f"{title}: {said}"
    assert said.count("(memory_app_") == 2
    assert "(memory_app_a, 10.0.2.100(33822), idle in transaction (aborted))" in said


def test_an_observation_of_a_stopped_container_does_not_ask_a_server(machine: FakePrograms) -> None:
    machine.answer("podman", ("*", inspected(found=container(status="exited", pid=0)), 0))
    machine.answer("nsenter", ("*", "asked", 0))
    assert observed(machine).container == container(status="exited", pid=0, process={})
    assert machine.asked("nsenter") == []


ALIVE = os.getpid()
NOBODY_THERE = 2**22 + 1  # above what any kernel counts processes to


@pytest.mark.parametrize(
    ("monitor", "listening", "died"),
    [
        (ALIVE, True, ""),
        (NOBODY_THERE, True, "its monitor, conmon, is dead"),
        (ALIVE, False, "nothing listens there: podman's port forwarder is dead"),
        (NOBODY_THERE, False, "its monitor, conmon, is dead"),
    ],
)
def test_a_container_whose_monitor_or_published_port_is_gone_runs_for_nobody(
    machine: FakePrograms, monitor: int, listening: bool, died: str
) -> None:
    machine.answer("nsenter", ("*", json.dumps(server()), 0))
    with socket.create_server(("127.0.0.1", 0)) as published:
        tenant = replace(ACME, port=published.getsockname()[1])
        if not listening:
            published.close()
        machine.answer("podman", ("*", inspected(tenant, pid=os.getpid(), monitor=monitor), 0))
        found = observed(machine).container
    assert found is not None
    assert (found.running, found.reachable, found.unreachable) == (True, not died, died)


def test_podmans_warnings_are_no_part_of_what_it_found(machine: FakePrograms) -> None:
    text = inspected(found=container(status="exited", pid=0))
    machine.answer("podman", ("*", text, 0))
    without = observed(machine)
    assert without.container is not None
    machine.answer("podman", ("*", f'time="now" level=warning msg="x"\n{text}\nWARN[0000] y', 0))
    assert observed(machine) == without
