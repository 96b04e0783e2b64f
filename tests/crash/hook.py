"""
pyinfra that notes each step of a deploy, or has a fault come over it at one of them. Started as `python -m pyinfra` is:

    PGBERTH_CRASH='{"notes": PATH}' python -m tests.crash.hook -y INVENTORY deploy/provision.py

A step is whatever a deploy may die in: a command it sends, work of Python's own, a named point of a migration. Steps
are found here and not listed anywhere, so that a new one is in the matrix as soon as a deploy takes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyinfra_cli.main import main  # first: it has gevent patch the standard library

# isort: split
import gevent
from gevent import monkey
from pyinfra.api import command, connectors, host, operations
from pyinfra.context import ctx_host

from pgberth.commands import script
from pgberth.model import killpoint
from pgberth.model.resources import TEMPLATES
from tests.crash import PORTS, VARIABLE

SCRIPTS = {path.stem: script(str(path.relative_to(TEMPLATES))) for path in TEMPLATES.rglob("*.sh")}


class Watch:
    """
    + notes: where each step is written down once it has ended
    + strike: None, or the fault: host and key say at which step, `after` how many seconds into it; `act` is a
      command that brings it about from outside, `kill` who dies of it here: "deploy", "all" or nobody

    A step's key is its operation, its kind, and the how manieth of those it is: another run may look at something once
    more or less in an earlier operation, and then its number is another's.
    """

    def __init__(self, notes: str = "", strike: dict[str, Any] | None = None):
        self.notes, self.planned = notes, strike
        self.counts: Counter[str] = Counter()
        self.alike: Counter[tuple[str, ...]] = Counter()
        self.sends: dict[str, bool] = {}
        self.inner: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, on: Any, kind: str, what: str = "") -> Iterator[None]:
        """Whatever is done inside is one step of this host's."""
        number, began = self.counts[on.name], time.monotonic()
        self.counts[on.name] += 1
        key = [doing(on), kind]
        self.alike[on.name, *key] += 1
        key.append(str(self.alike[on.name, *key]))
        due = self.planned is not None and (self.planned["host"], self.planned["key"]) == (on.name, key)
        timer = gevent.spawn_later(self.planned["after"], self.strike) if self.planned and due else None
        try:
            yield
        finally:
            if timer is not None:
                timer.kill()
                self.strike()  # it ended sooner than foreseen: then at its very end
            self.note(on, kind, what, number, key, time.monotonic() - began)

    def note(self, on: Any, kind: str, what: str, number: int, key: list[str], seconds: float) -> None:
        own = seconds
        if kind == "works":  # without the steps inside
            own -= self.inner.pop(on.name, 0.0)
        else:
            self.inner[on.name] = self.inner.get(on.name, 0.0) + seconds
        if self.notes:
            told = {
                "host": on.name,
                "number": number,
                "kind": kind,
                "what": what,
                "op": key[0],
                "key": key,
                "seconds": own,
            }
            with Path(self.notes).open("a") as file:
                file.write(json.dumps(told) + "\n")

    def strike(self) -> None:
        planned, self.planned = self.planned, None
        if planned is None:
            return
        if planned["act"]:
            ports = ",".join(map(str, local_ports()))
            at_once([word.replace(PORTS, ports) for word in planned["act"]])
        if planned["kill"] == "all":
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if planned["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)


def at_once(command: list[str]) -> None:
    """Run a command while nothing else happens in this process."""
    wait = monkey.get_original("os", "waitpid")
    _, status = wait(os.posix_spawnp(command[0], command, os.environ), 0)
    assert status == 0, command


def doing(on: Any) -> str:
    """The name of the operation a host is in."""
    if on.executing_op_hash is None:
        return ""
    return ", ".join(on.state.get_op_meta(on.executing_op_hash).names)


def words(sent: Any) -> str:
    """What tells a command from its neighbours: its script's name, where it has one, and its first argument."""
    try:
        split = shlex.split(str(sent))
        if SCRIPTS["become"] in split:
            split = shlex.split(split[split.index(SCRIPTS["become"]) + 3])
    except ValueError:
        return ""
    if "pgberth" not in split:
        return " ".join(split)[:40]
    name = next((name for name, text in SCRIPTS.items() if text in split), "")
    first = next((Path(word).name for word in split[split.index("pgberth") + 1 :] if "\n" not in word), "")
    return f"{name} {first}".strip()[:60]


def descendants(pid: int) -> list[int]:
    """All processes below this one, parents before their children."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(place.name))
    found = list(parents.get(pid, ()))
    for one in found:
        found += parents.get(one, ())
    return found


def local_ports() -> list[int]:
    """Ports of this side of the connections that this process has open to other machines."""
    sockets = {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    rows = (line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:])
    return [int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in sockets and row[3] == "01"]


def install(watch: Watch) -> None:
    """Every step of this process passes the watch from now on."""
    run, upload, send, call, operate = (
        host.Host.run_shell_command,
        host.Host.put_file,
        command.StringCommand.execute,
        command.FunctionCommand.execute,
        operations._run_host_op,
    )

    def run_shell_command(self: Any, sent: Any, *rest: Any, **more: Any) -> Any:
        with watch.step(self, "does" if watch.sends.get(self.name) else "asks", words(sent)):
            return run(self, sent, *rest, **more)

    def put_file(self: Any, source: Any, target: str, *rest: Any, **more: Any) -> Any:
        with watch.step(self, "uploads", Path(target).name):
            return upload(self, source, target, *rest, **more)

    def execute(self: Any, state: Any, on: Any, arguments: Any) -> Any:
        watch.sends[on.name] = True
        try:
            return send(self, state, on, arguments)
        finally:
            watch.sends[on.name] = False

    def execute_function(self: Any, state: Any, on: Any, arguments: Any) -> Any:
        with watch.step(on, "calls", self.function.__name__):
            return call(self, state, on, arguments)

    def run_host_op(state: Any, on: Any, op_hash: str) -> Any:
        watch.inner.pop(on.name, None)
        with watch.step(on, "works"):
            return operate(state, on, op_hash)

    def reached(step: str) -> None:
        with watch.step(ctx_host.get(), "passes", step):
            pass

    stand_ins = (
        (host.Host, "run_shell_command", run_shell_command),
        (host.Host, "put_file", put_file),
        (command.StringCommand, "execute", execute),
        (command.FunctionCommand, "execute", execute_function),
        (operations, "_run_host_op", run_host_op),
        (killpoint, "killpoint", reached),
    )
    for place, name, stand_in in stand_ins:
        setattr(place, name, stand_in)
    for connector in connectors.get_all_connectors().values():
        if hasattr(connector, "acquire_lock"):
            _watch_hold(watch, connector)


def _watch_hold(watch: Watch, connector: Any) -> None:
    acquire = connector.acquire_lock

    def held(self: Any, sent: Any) -> Any:
        with watch.step(self.host, "holds", words(sent)):
            return acquire(self, sent)

    connector.acquire_lock = held


if __name__ == "__main__":
    install(Watch(**json.loads(os.environ[VARIABLE])))
    main()
