"""Shell commands that every room yields: refusals, atomic files, scripts under a tenant's command lock."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, ParamSpec

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import PyinfraOperation
from pyinfra.connectors.util import CommandOutput, OutputLine

from pgberth.model import layout
from pgberth.model.problems import Problem, Refused
from pgberth.model.resources import TEMPLATES

Commands = Generator[StringCommand, None, None]
Parameters = ParamSpec("Parameters")

_HUNG = "is the server hung? runbooks/server-does-not-start.md"
LOCK_WAIT = 60  # seconds; the command that a killed deploy left running ends within them
_USES_LIB = "# uses lib.sh\n"
INPUT_WAIT = 30  # seconds; the input is a few KiB, sent together with the command


class Refusal(StringCommand):
    """
    A command that fails with these problems on stderr. It sends nothing to the machine.

    The host may be unreachable, or the account not created yet. Its text, which pyinfra shows, is the shell command
    that would print the same.
    """

    def __init__(self, problems: Iterable[Problem]):
        self.lines = "\n".join(str(problem) for problem in problems)
        super().__init__("printf '%s\\n'", QuoteString(self.lines), ">&2; exit 1")

    def execute(self, *_: Any) -> tuple[bool, CommandOutput]:
        return False, CommandOutput([OutputLine("stderr", line) for line in self.lines.splitlines()])


class ExplainedCommand(StringCommand):
    """A command that fails with the problem that its output shows, and in its own words where that shows none."""

    def __init__(self, command: StringCommand, explain: Callable[[str], Problem | None]):
        super().__init__(command, **command.connector_arguments)
        self.explain = explain

    def execute(self, *arguments: Any) -> tuple[bool, CommandOutput]:
        done, output = super().execute(*arguments)
        problem = None if done else self.explain(output.stderr)
        if problem is None:
            return done, output
        return done, CommandOutput([OutputLine("stderr", line) for line in str(problem).splitlines()])


def refuse(*problems: Problem) -> StringCommand:
    """
    The command that an operation yields instead of acting.

    An exception inside an operation would stop every host of the run; a failing command stops its own.
    """
    return Refusal(problems)


def guarded_operation(
    *, is_idempotent: bool = True
) -> Callable[[Callable[Parameters, Iterator[PyinfraCommand]]], PyinfraOperation[Parameters]]:
    """
    A pyinfra operation whose function may raise Refused: it then yields one failing command with the problems.

    pyinfra lets an exception out of an operation, and that would stop every host of the run; a failing command stops
    its own host only. What the function yielded before it refused is run first.

    + is_idempotent: as in pyinfra's own decorator
    """

    def decorate(function: Callable[Parameters, Iterator[PyinfraCommand]]) -> PyinfraOperation[Parameters]:
        # The name and the signature are the function's own: pyinfra reads both.
        @wraps(function)
        def guarded(*arguments: Parameters.args, **named: Parameters.kwargs) -> Generator[PyinfraCommand, None, None]:
            try:
                yield from function(*arguments, **named)
            except Refused as refused:
                yield refuse(*refused.problems)

        return operation(is_idempotent=is_idempotent)(guarded)

    return decorate


@cache
def body(name: str) -> str:
    """A shell script as it is, by its path below templates/."""
    return (TEMPLATES / name).read_text()


def script(name: str) -> str:
    """A shell script to send alone: with lib.sh before it where its first line asks for that."""
    text = body(name)
    return body("lib.sh") + text if text.startswith(_USES_LIB) else text


def shell(text: str, *arguments: str, timeout: int) -> StringCommand:
    """Run a script with arguments; stdin stays free for data. Killed after `timeout` seconds."""
    quoted = [QuoteString(argument) for argument in arguments]
    return StringCommand(f"timeout -k 5 {timeout:d} /bin/sh -c", QuoteString(text), "pgberth", *quoted)


def as_account(account: str, command: StringCommand) -> StringCommand:
    """Run a command as another account: in its home, with umask 077 and nothing of the caller's environment."""
    return StringCommand(
        "/bin/sh -c", QuoteString(script("common/become.sh")), "pgberth", QuoteString(account), QuoteString(command)
    )


END = "pgberth:end-of-input"


def _wait_for_input(tenant: str) -> StringCommand:
    """
    Wait for a command's whole input, or fail.

    A deploy may be killed, or its connection lost, before all of it has arrived, and the command would take a part of a
    file for the file. The input stays in the shell's memory, which no process list shows.
    """
    problem = Problem(f"{tenant}: the input of a command arrived incomplete", "run the deploy again")
    return StringCommand(
        f"input=$(timeout {INPUT_WAIT} cat); case $input in *{END}) ;; *) printf '%s\\n'",
        QuoteString(str(problem)),
        ">&2; exit 1 ;; esac;",
    )


def under_command_lock(
    tenant: str, text: str, *arguments: str, timeout: int = 120, stdin: str | None = None
) -> StringCommand:
    """
    Run a script that changes a tenant, under the tenant's command lock.

    The kernel keeps the lock for the command itself, so that a command that a killed deploy left running still has it.
    `-o` withholds it from processes that outlive the command, such as a container's monitor.

    + stdin: the command waits for it before it takes the lock, and fails unless all of it arrives
    """
    path = layout.lock_file(tenant)
    busy = str(
        Problem(
            f"{tenant}: another command has been working on this tenant for {LOCK_WAIT} s",
            f"list it: lslocks | grep {path}; then run the deploy again",
        )
    )
    return StringCommand(
        _wait_for_input(tenant) if stdin is not None else "",
        "umask 077; mkdir -p",
        QuoteString(path.rpartition("/")[0]),
        "&&",
        f'printf %s "${{input%{END}}}" |' if stdin is not None else "",
        f"flock -o -w {LOCK_WAIT} -E 75",
        QuoteString(path),
        shell(text, *arguments, timeout=timeout),
        "|| { code=$?; test $code -ne 75 || printf '%s\\n'",
        QuoteString(busy),
        ">&2; test $code -ne 124 || printf '%s\\n'",
        QuoteString(f"{tenant}: a command was stopped after {timeout} s without an answer\nHINT: {_HUNG}"),
        ">&2; exit $code; }",
        _stdin=f"{stdin}{END}" if stdin is not None else "",
    )


@dataclass(frozen=True)
class File:
    """+ path: relative to the account's home; mode: e.g. "0600"; while it is written, only its owner can read it"""

    path: str
    text: str
    mode: str = "0600"


def file_arguments(files: Sequence[File]) -> list[str]:
    """Arguments of write-files.sh."""
    return [word for file in files for word in (file.path, file.mode, str(len(file.text.encode())))]


def write_files(tenant: str, files: Sequence[File]) -> StringCommand:
    """Replace files of the tenant, in this order. After a crash each is old or new, never half written."""
    arguments = file_arguments(files)
    texts = "".join(file.text for file in files)
    return under_command_lock(tenant, script("common/write-files.sh"), *arguments, stdin=texts)
