"""Faults that keep a running tenant from its work: every verb names the cause and the holder, and leads to the page."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.deploy.conftest import Deployed
from tests.deploy.processes import kill, processes
from tests.deploy.test_runbooks_live import follow


@contextmanager
def locked_for_ever(deployed: Deployed) -> Iterator[psycopg.Connection]:
    """A table of the tenant `one`, locked by its application with the idle timeout off."""
    with deployed.one.connect() as app:
        app.execute("SET idle_in_transaction_session_timeout = 0; SET application_name = 'forgetful'")
        app.execute("BEGIN; LOCK TABLE memory_plugin.memory_records IN ACCESS EXCLUSIVE MODE")
        yield app


def test_a_table_locked_for_ever_stops_no_verb_and_its_holder_is_named(deployed: Deployed) -> None:
    container = deployed.one.container()["Id"]
    published = deployed.one.directory / "connection.env"
    published.unlink()
    with locked_for_ever(deployed) as app:
        runs = {verb: deployed.both.verb(verb) for verb in ("status", "verify", "provision")}
        holder = f"pid {app.info.backend_pid} (memory_app_a, application forgetful, from "
        assert app.execute("SELECT 1").fetchone() == (1,)  # nobody ended it
    lock = "holds AccessExclusiveLock on memory_plugin.memory_records"
    for verb, run in runs.items():
        assert run.line(deployed.one.name, holder, lock), f"{verb}: {run.said}"
        assert run.line("runbooks/table-is-locked.md"), f"{verb}: {run.said}"
        assert "runbooks/server-does-not-start.md" not in run.said
    assert {verb: run.code for verb, run in runs.items()} == {"status": 0, "verify": 1, "provision": 1}
    assert published.exists()  # provision did the rest of its work
    assert deployed.one.container()["Id"] == container
    deployed.both.provision().went_well()


@contextmanager
def without_locks(deployed: Deployed) -> Iterator[int]:
    """The application of the tenant `one` holds all memory for locks, in savepoints. The value is its session's pid."""
    with closing(deployed.one.connect()) as app:  # it is ended meanwhile
        app.execute("SET idle_in_transaction_session_timeout = 0; BEGIN")
        write = "INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('team:{0}', 'team')"
        with pytest.raises(psycopg.errors.OutOfMemory):
            for first in range(0, 1_000_000, 500):
                numbers = range(first, first + 500)
                app.execute("; ".join(f"SAVEPOINT s{n}; {write.format(n)}" for n in numbers).encode())
        yield app.info.backend_pid


def test_a_server_without_memory_for_locks_is_called_that_and_its_page_leads_out(deployed: Deployed) -> None:
    """Nobody can log in, the superuser included: what the verbs say comes from outside the server."""
    with without_locks(deployed) as pid:
        runs = {verb: deployed.both.verb(verb) for verb in ("status", "provision")}
        follow("no-free-connection", (5,), deployed.one, deployed.both, PID=pid)
    cause = f"{deployed.one.name}: its server has no memory left for locks: out of shared memory"
    for verb, run in runs.items():
        assert run.line(cause, f"in a transaction are pid {pid} (memory_app_a, 10.0.2.100("), f"{verb}: {run.said}"
        assert run.line("runbooks/no-free-connection.md"), f"{verb}: {run.said}"
        assert not run.line("Traceback"), run.said
    assert {verb: run.code for verb, run in runs.items()} == {"status": 0, "provision": 1}
    follow("no-free-connection", (6,), deployed.one, deployed.both)


def forwarder(port: int, uid: int) -> int:
    """The process of the user that listens on a port of loopback."""
    sockets = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
    (inode,) = (words[9] for words in sockets if (words[1], words[3]) == (f"0100007F:{port:04X}", "0A"))
    found = (process.pid for process in processes(uid) if f"socket:[{inode}]" in open_files(process.pid))
    return next(found)


def open_files(pid: int) -> set[str]:
    found: set[str] = set()
    with suppress(OSError):  # the process, or the file, may end while it is being looked at
        found.update(str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir())
    return found


def kill_the_monitor(deployed: Deployed) -> None:
    for process in processes(deployed.site.account.uid):
        if process.monitors == deployed.one.name:
            kill(process.pid)


def kill_the_server_and_its_monitor(deployed: Deployed) -> None:
    server = deployed.one.container()["State"]["Pid"]
    kill_the_monitor(deployed)
    kill(server)


def kill_the_forwarder(deployed: Deployed) -> None:
    kill(forwarder(deployed.one.port, deployed.site.account.uid))


DEAD = {
    "its monitor, conmon, is dead": kill_the_monitor,
    "its server's process is dead": kill_the_server_and_its_monitor,
    "nothing listens there: podman's port forwarder is dead": kill_the_forwarder,
}


@pytest.mark.parametrize("says", DEAD)
def test_a_running_container_that_nobody_can_reach_is_called_that_and_its_page_leads_out(
    deployed: Deployed, says: str
) -> None:
    DEAD[says](deployed)
    fact = f"its container runs, and nobody can reach port {deployed.one.port}"
    status = deployed.both.status().went_well()
    assert status.line(deployed.one.name, fact, says, "runbooks/port-is-dead.md"), status.said
    assert not status.line(deployed.one.name, "running g1"), status.said
    verified = deployed.both.verify().failed()
    assert verified.line(f"{deployed.one.name}: {fact}: {says}"), verified.said
    assert verified.line("runbooks/port-is-dead.md"), verified.said
    follow("port-is-dead", (3, 4), deployed.one, deployed.both)


def test_a_server_that_a_signal_stopped_is_called_that_with_the_command_that_lets_it_go_on(deployed: Deployed) -> None:
    server = deployed.one.container()["State"]["Pid"]
    os.kill(server, signal.SIGSTOP)
    try:
        for run in (deployed.both.status(), deployed.both.verify().failed(), deployed.both.provision().failed()):
            assert run.line(deployed.one.name, f"kill -CONT {server}"), run.said
    finally:
        os.kill(server, signal.SIGCONT)
    deployed.both.provision().went_well()
