"""
Imported by an inventory under test: from then on no connector of this pyinfra run does anything.

Each command is written down, one JSON object a line, in the file that PGBERTH_FAKE_LOG names, and answered from the
list in PGBERTH_FAKE_ANSWERS: [host or "*", part of the command, answer], the first that fits. An answer is
{"stdout", "stderr", "done", "seconds"}; a command that fits none succeeds silently, and a refusal fails as it would.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import gevent
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

from pgberth.connectors.local import TenantConnector
from pgberth.connectors.ssh import MachineConnector, RemoteTenantConnector
from tests.fake_host import Sent

_ANSWERS = json.loads(Path(os.environ["PGBERTH_FAKE_ANSWERS"]).read_text())


def _run(
    self: Any, command: Any, print_output: bool = False, print_input: bool = False, **arguments: Any
) -> tuple[bool, CommandOutput]:
    host, text, stdin = self.host.name, command.get_raw_value(), arguments.get("_stdin") or ""
    with Path(os.environ["PGBERTH_FAKE_LOG"]).open("a") as log:
        log.write(json.dumps([host, text, stdin if isinstance(stdin, str) else stdin.read()]) + "\n")
    if print_input:
        click.echo(f"{host}>>> {command}", err=True)
    answer: dict[str, Any] = next((told for at, part, told in _ANSWERS if at in ("*", host) and part in text), {})
    if refused := Sent(text).refusal:
        answer = {"stderr": refused, "done": False}
    gevent.sleep(answer.get("seconds", 0))
    lines = [OutputLine(kind, line) for kind in ("stdout", "stderr") for line in answer.get(kind, "").splitlines()]
    if print_output:
        for line in lines:
            click.echo(f"{host}> {line.line}", err=True)
    return answer.get("done", True), CommandOutput(lines)


def _acquire_lock(self: Any, command: Any) -> tuple[Any, str]:
    _, output = _run(self, command)
    return object(), output.stdout or "held"


for _connector in (LocalConnector, TenantConnector, MachineConnector):
    _connector.run_shell_command = _run  # type: ignore[method-assign]
for _tenants in (TenantConnector, RemoteTenantConnector):
    _tenants.acquire_lock = _acquire_lock  # type: ignore[method-assign]
MachineConnector.connect = lambda _: None  # type: ignore[method-assign, assignment]
