"""Runs of the real command line on machines that only pretend: what to run, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pgberth.container.state import TenantState
from pgberth.machine.preparation import MachineFacts
from pgberth.model.tenant import Tenant
from tests import sample
from tests.fake_host import Sent, password_in
from tests.machine.states import READY_AS_ROOT
from tests.sample import IMAGE, READY, TAG, observe_output, spec_file, state

ROOT = Path(__file__).resolve().parents[2]
PYINFRA = Path(sys.executable).parent / "pyinfra"


def _closed_port() -> int:
    """A port of loopback at which nobody answers: a tenant that is made up must not be somebody's real one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


ACME = replace(sample.ACME, port=_closed_port())
GLOBEX = replace(ACME, name="globex", port=_closed_port(), rings=("production",))

INVENTORY = f"""\
import tests.verbs.fakes
from pgberth.inventory import machine, tenant

_here = machine("@local")

machines = [_here.host]
canary = [tenant("acme", on=_here, port={ACME.port}, components={{"memory_plugin"}})]
production = [tenant("globex", on=_here, port={GLOBEX.port}, components={{"memory_plugin"}})]
"""

Answers = list[tuple[str, str, dict[str, Any]]]


@dataclass(frozen=True)
class Command:
    """One command that a host was sent."""

    host: str
    sent: Sent


@dataclass
class Run:
    """
    A run to make, and what came of it.

    + interrupt: part of a command at which the run gets Ctrl-C
    """

    arguments: tuple[str, ...] = ("-y", "--data", "smoke=false")
    verb: str = "provision"
    inventory: str = INVENTORY
    answers: Answers = field(default_factory=list)
    interrupt: str = ""
    code: int = -1
    stdout: str = ""
    stderr: str = ""
    commands: list[Command] = field(default_factory=list)

    def make(self, place: Path) -> Run:
        """Run it, everything of it below this directory."""
        (place / "inventories").mkdir()
        (place / "inventories/prod.py").write_text(self.inventory)
        (place / "config.py").write_text((ROOT / "config.py").read_text())
        (place / "answers.json").write_text(json.dumps(self.answers))
        log = place / "log"
        log.touch()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "PYTHONPATH": f"{ROOT}/deploy:{ROOT}",
            "PGBERTH_FAKE_LOG": str(log),
            "PGBERTH_FAKE_ANSWERS": str(place / "answers.json"),
        }
        command = [str(PYINFRA), "inventories/prod.py", str(ROOT / f"deploy/{self.verb}.py"), *self.arguments]
        with subprocess.Popen(
            command,
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            if self.interrupt:
                _interrupt(process, log, self.interrupt)
            self.stdout, self.stderr = process.communicate(timeout=60)
        self.code = process.returncode
        told = [json.loads(line) for line in log.read_text().splitlines()]
        self.commands = [Command(host, Sent(text, stdin)) for host, text, stdin in told]
        return self

    @property
    def results(self) -> dict[str, Any]:
        """What --json printed: the whole of stdout, or it is no JSON."""
        found: dict[str, Any] = json.loads(self.stdout)["results"]
        return found

    def sent_to(self, host: str) -> list[Sent]:
        return [command.sent for command in self.commands if command.host == host]

    @property
    def changes(self) -> list[Sent]:
        """What was sent that changes a tenant: all of that takes the tenant's command lock."""
        return [command.sent for command in self.commands if command.sent.under_command_lock]


def _interrupt(process: subprocess.Popen[str], log: Path, at: str) -> None:
    deadline = time.monotonic() + 30
    while at not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)


def told(facts: MachineFacts) -> str:
    """facts.sh's output."""

    def word(value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return " ".join(sorted(value)) if isinstance(value, frozenset) else str(value)

    return "\n".join(f"{name}={word(value)}" for name, value in vars(facts).items())


def a_machine(facts: MachineFacts = READY_AS_ROOT) -> Answers:
    """This machine, ready but for what the facts lack."""
    labels = {
        f"pgberth.{name}": str(getattr(IMAGE, name))
        for name in ("uid", "gid", "bindir", "postgres", "pgvector", "recipe")
    }
    image = json.dumps({"tag": TAG, "id": IMAGE.id, "labels": labels})
    return [
        ("@local", "say root", {"stdout": told(facts)}),
        ("@local", "podman image inspect", {"stdout": f"{image}\n{READY.to_json().replace(chr(10), ' ')}"}),
    ]


def a_tenant(tenant: Tenant = ACME, found: TenantState | None = None, **look_too: Any) -> Answers:
    """A tenant, in order unless another state is given."""
    passwords = "\n".join(f"{name} {password_in(name).reveal()}" for name in spec_file()["secrets"].values())
    return [
        (tenant.name, "section machine", {"stdout": observe_output(tenant, found or state(tenant)), **look_too}),
        (tenant.name, 'printf "%s %s', {"stdout": passwords}),
    ]
