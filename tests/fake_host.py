"""
A stand-in for pyinfra's host: facts and answers from tables, and what an operation would send, as values.

An operation is run by `sent`, outside any deploy: nothing is executed, and its commands come back in order.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

from pyinfra.api import StringCommand
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_host, ctx_inventory, ctx_state

from pgberth import commands
from pgberth.container.activity import ServerObservation
from pgberth.model.secret import Secret

CANARY = "canary-Zq7-password"  # every stored secret of a fake host; it must come out nowhere


@dataclass(frozen=True)
class Answer:
    """What a command prints and whether it succeeds."""

    stdout: str = ""
    stderr: str = ""
    done: bool = True

    def output(self) -> CommandOutput:
        printed = [OutputLine("stdout", line) for line in self.stdout.splitlines()]
        return CommandOutput([*printed, *(OutputLine("stderr", line) for line in self.stderr.splitlines())])


@dataclass(frozen=True)
class Sent:
    """
    One command as the machine's shell would get it.

    + text: the whole command line
    + given: what it reads
    """

    text: str
    given: str = ""

    @property
    def stdin(self) -> str:
        """What a script under the tenant's lock gets of it: all but the word that it has arrived whole."""
        return self.given.removesuffix(commands.END)

    @property
    def words(self) -> list[str]:
        """Its words; of a command that runs as another account, those of the command inside."""
        words, become = shlex.split(self.text), commands.script("common/become.sh")
        if become not in words:
            return words
        at = words.index(become)
        return [*words[: at - 2], *shlex.split(words[at + 3]), *words[at + 4 :]]

    @property
    def account(self) -> str:
        """The account that it runs as; "" where it stays the connection's own."""
        words, become = shlex.split(self.text), commands.script("common/become.sh")
        return words[words.index(become) + 2] if become in words else ""

    @property
    def script(self) -> str:
        """The script a command of `commands.shell` runs; "" where it is no such command."""
        return self.words[self.words.index("-c") + 1] if "-c" in self.words else ""

    @property
    def arguments(self) -> list[str]:
        """The arguments that script gets."""
        words = self.words[self.words.index("-c") + 3 :]
        return words[: words.index("||")] if "||" in words else words

    @property
    def files(self) -> dict[str, tuple[str, str]]:
        """Path -> text and mode, where it is a command that writes files."""
        if self.script != commands.script("common/write-files.sh"):
            return {}
        rest, found = self.stdin.encode(), {}
        for path, mode, count in zip(*(self.arguments[part::3] for part in range(3)), strict=True):
            text, rest = rest[: int(count)], rest[int(count) :]
            found[path] = (text.decode(), mode)
        return found

    @property
    def under_command_lock(self) -> bool:
        """Whether it runs under a tenant's command lock."""
        return "flock" in self.words[: self.words.index("-c")] if "-c" in self.words else False

    @property
    def refusal(self) -> str:
        """The problems it prints instead of doing anything; "" for a command that does something."""
        words = self.words
        return words[2] if words[:2] == ["printf", r"%s\n"] and words[3:] == [">&2;", "exit", "1"] else ""


@dataclass
class FakeHost:
    """
    + facts: fact class -> value, or a function of the fact's arguments
    + answers: (part of a command, its answer), the first that fits; whatever fits none is answered by `otherwise`
    """

    facts: Mapping[type, Any] = field(default_factory=dict)
    answers: list[tuple[str, Answer]] = field(default_factory=list)
    otherwise: Answer = Answer(done=False)
    name: str = "acme"
    asked: list[Sent] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    connector: object = None
    print_prefix: str = ""

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        if fact is ServerObservation and fact not in self.facts:
            return ServerObservation.default()  # then the whole tenant is observed again
        value = self.facts[fact]
        return value(**arguments) if callable(value) else value

    def run_shell_command(self, command: StringCommand, **_: Any) -> tuple[bool, CommandOutput]:
        asked = as_sent(command)
        self.asked.append(asked)
        answer = next((answer for part, answer in self.answers if part in asked.text), self.otherwise)
        return answer.done, answer.output()

    def noop(self, description: str) -> None:
        self.said.append(description)

    log = noop


def as_sent(command: StringCommand) -> Sent:
    stdin = command.connector_arguments.get("_stdin") or ""
    return Sent(command.get_raw_value(), str(stdin))


@contextmanager
def on(
    host: FakeHost, *, executing: bool = True, inventory: Any = None, failed: Iterable[object] = ()
) -> Iterator[None]:
    """The host is the one that pyinfra works on."""
    state = SimpleNamespace(
        is_executing=executing, failed_hosts=set(failed), print_noop_info=False, print_output=False, print_input=False
    )
    previous = ctx_host.get(), ctx_state.get(), ctx_inventory.get()
    try:
        ctx_host.set(host)
        ctx_state.set(state)
        ctx_inventory.set(inventory)
        yield
    finally:
        for context, module in zip((ctx_host, ctx_state, ctx_inventory), previous, strict=True):
            context.set(module)


def sent(
    operation: Callable[..., Any],
    host: FakeHost,
    *,
    executing: bool = True,
    inventory: Any = None,
    failed: Iterable[object] = (),
    **arguments: Any,
) -> list[Any]:
    """What the operation yields on this host: Sent for a shell command, anything else as it is."""
    with on(host, executing=executing, inventory=inventory, failed=failed):
        yielded = list(operation._inner(**arguments))  # type: ignore[attr-defined]
    found = [as_sent(command) if isinstance(command, StringCommand) else command for command in yielded]
    for command in found:
        assert not isinstance(command, Sent) or understood(command.script or command.text), command
    return found


@cache
def understood(text: str) -> bool:
    """Whether the plainest shell can read it."""
    return subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False).returncode == 0


def stored(names: Iterable[str]) -> tuple[str, Answer]:
    """The answer to the reading of the stored secrets: each is the canary with its file's name behind it."""
    return "for name in *; do", Answer("\n".join(f"{name} {password_in(name).reveal()}" for name in names))


def password_in(name: str) -> Secret:
    return Secret(f"{CANARY}-{name}")
