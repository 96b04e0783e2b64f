"""A `podman`, or any other program, that does nothing: it writes down what it was asked and answers from a table."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from tests.fake_host import Sent

_PROGRAM = """#!/bin/sh
{ printf '%s\\n' "$@"; printf -- '----\\n'; } >> LOG
case "$*" in
ANSWERS
esac
exit 0
"""


class FakePrograms:
    """
    A machine of a test's own: a home, and programs that only pretend.

    + home: what the scripts take for the account's home
    """

    def __init__(self, home: Path):
        self.home = home
        self._tools = home / ".tools"
        self._tools.mkdir(parents=True)

    def answer(self, program: str, *answers: tuple[str, str, int]) -> None:
        """Make a program that answers: (`case` pattern over its arguments, stdout, exit code), the first that fits."""
        if program == "podman":  # one that has run here before
            (self.home / ".local/share/containers").mkdir(parents=True, exist_ok=True)
        lines = [
            f"{_case(pattern)}) printf '%s\\n' {shlex.quote(out)}; exit {code};;" for pattern, out, code in answers
        ]
        text = _PROGRAM.replace("LOG", shlex.quote(str(self._log(program)))).replace("ANSWERS", "\n".join(lines))
        (self._tools / program).write_text(text)
        (self._tools / program).chmod(0o755)

    def also(self, program: str, when: str, script: str) -> None:
        """Let a program that answers do something besides, where its arguments fit `when`."""
        made = self._tools / program
        case = f'case "$*" in\n{_case(when)}) {script};;\nesac\n'
        made.write_text(made.read_text().replace('case "$*" in\n', case + 'case "$*" in\n', 1))

    def asked(self, program: str = "podman") -> list[list[str]]:
        """The arguments of each call, in order."""
        if not self._log(program).exists():
            return []
        calls = self._log(program).read_text().split("----\n")
        return [call.splitlines() for call in calls[:-1]]

    def run(self, sent: Sent | str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run what an operation sent, or a script with arguments, as the account would."""
        command = ["/bin/sh", "-c", sent.text] if isinstance(sent, Sent) else ["/bin/sh", "-c", sent, "x", *arguments]
        return subprocess.run(
            command,
            input=sent.given if isinstance(sent, Sent) else stdin,
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": f"{self._tools}:{os.environ['PATH']}", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def _log(self, program: str) -> Path:
        return self._tools / f"{program}.asked"


def _case(pattern: str) -> str:
    """Everything but the stars quoted."""
    return "*".join(shlex.quote(part) if part else "" for part in pattern.split("*"))
