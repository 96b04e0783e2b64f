"""The product's commands, run as an operator runs them: each in a process of its own, judged by what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
SECONDS = 400  # more than any run takes that builds no image
BUILDING = 1200


@dataclass(frozen=True)
class Run:
    """What a command came to. + out: with --json, the plan and the results"""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        return self.out + self.err

    @cached_property
    def results(self) -> dict[str, Any]:
        assert self.out.startswith("{"), f"exit code {self.code}, without results\n{self.err}"
        found: dict[str, Any] = json.loads(self.out)["results"]
        return found

    @property
    def changes(self) -> list[str]:
        """ "operation: host" of each operation that changed something, by pyinfra's own count."""
        return [f"{done['name']}: {host}" for done in self.results["operations"] for host in done["success"]]

    def hosts_changed(self) -> set[str]:
        return {change.rpartition(": ")[2] for change in self.changes}

    def line(self, *words: str) -> str:
        """The first line it said that has all of these words, "" where none has."""
        return next((line for line in self.said.splitlines() if all(word in line for word in words)), "")

    def went_well(self) -> Run:
        assert self.code == 0, self.said
        return self

    def failed(self) -> Run:
        """Failed or refused, in the product's own words: a stack trace is no answer."""
        assert self.code == 1, self.said
        assert "Traceback" not in self.said, self.said
        return self

    def changed_nothing(self) -> Run:
        self.went_well()
        assert (self.results["totals"]["success"], self.results["totals"]["error"]) == (0, 0), self.changes
        return self


@dataclass(frozen=True)
class Inventory:
    """An inventory file and the commands that take one. + tree: where the product's sources lie"""

    path: Path
    tree: Path = REPO

    def provision(self, *options: str, seconds: float = SECONDS, **environment: str) -> Run:
        return self.verb("provision", *options, seconds=seconds, **environment)

    def verify(self, *options: str) -> Run:
        return self.verb("verify", *options)

    def status(self, *options: str) -> Run:
        return self.verb("status", *options)

    def verb(self, verb: str, *options: str, seconds: float = SECONDS, **environment: str) -> Run:
        return run(self.command(verb, "--json", *options), tree=self.tree, seconds=seconds, environment=environment)

    def command(self, verb: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "pyinfra", "-y", *options, str(self.path), f"deploy/{verb}.py"]

    def local(self, command: str, *options: str, stdin: str = "") -> Run:
        """url, psql, logs or clean, as the Makefile calls them."""
        module = [sys.executable, "-m", "pgberth.cli", command, "--inventory", str(self.path)]
        return run([*module, *options], tree=self.tree, stdin=stdin)

    def start(self, verb: str = "provision", *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """A run under way, for a test that does not let it end."""
        return subprocess.Popen(
            self.command(verb, *options),
            cwd=self.tree,
            env=_environment(self.tree, environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def run(
    command: list[str],
    *,
    tree: Path = REPO,
    stdin: str = "",
    seconds: float = SECONDS,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a command to its end. Raises subprocess.TimeoutExpired, with the command killed."""
    began = time.monotonic()
    ended = subprocess.run(
        command,
        cwd=tree,
        env=_environment(tree, environment or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Run(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - began)


def _environment(tree: Path, more: Mapping[str, str]) -> dict[str, str]:
    # The tree under test, whatever is installed. pyinfra puts an active virtualenv's packages before PYTHONPATH.
    inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return {**inherited, "PYTHONPATH": str(tree / "deploy"), **more}
