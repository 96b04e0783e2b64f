"""Whatever a variable of the Makefile holds reaches the program as one word, and no shell acts on it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
ODD = ["/a b/x.py", "it's.py", "$HOME", "`touch made`", "; touch made", '"q" a,b', "*", "-x"]
COMMANDS = {
    "INVENTORY": ("status", "{}"),
    "LIMIT": ("deploy", "{}"),
    "REASON": ("recycle", "reason={}"),
    "PENDING": ("recycle", "pending={}"),
    "TENANT": ("logs", "{}"),
    "COMPONENT": ("psql", "{}"),
    "PLUGIN": ("entrypoint", "{}"),
    "DIALECT": ("inject", "{}"),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The Makefile beside programs that print their arguments."""
    (tmp_path / "Makefile").write_text((REPO / "Makefile").read_text())
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("pyinfra", "python"):
        (programs / name).write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
        (programs / name).chmod(0o755)
    for name in ("pyproject.toml", ".venv/bundle", ".venv/compiled"):  # in this order, so that all is up to date
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("variable", COMMANDS)
@pytest.mark.parametrize("value", ODD)
def test_a_variable_is_one_word(place: Path, variable: str, value: str) -> None:
    target, word = COMMANDS[variable]
    command = ["make", "--silent", target, f"{variable}={value}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(place)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
    assert word.format(value) in done.stdout.split("\0")
    assert not (place / "made").exists()
