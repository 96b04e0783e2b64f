"""Locks of the machine's account files: waited for while somebody works, opened where nobody does any more."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgberth.model.resources import TEMPLATES

SCRIPT = (TEMPLATES / "machine/accounts-unlocked.sh").read_text()
NOBODY = str(2**22 + 1)  # above what any kernel counts processes to


def run(etc: Path, retry: str = "1") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", SCRIPT, "pgberth", "echo", "ran"],
        env={**os.environ, "PGBERTH_ETC": str(etc), "PGBERTH_PATIENCE": retry},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@pytest.fixture
def useradd(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of that name, at work for a while."""
    program = tmp_path / "useradd"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as at_work:
        yield at_work
        at_work.kill()


def test_where_nothing_is_locked_the_program_runs(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


@pytest.mark.parametrize("held", [NOBODY, str(os.getpid()), "", "nonsense"], ids=["dead", "another", "empty", "words"])
@pytest.mark.parametrize("file", ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"])
def test_a_lock_that_nobody_holds_any_more_is_opened(tmp_path: Path, file: str, held: str) -> None:
    (tmp_path / f"{file}.lock").write_text(held)
    assert run(tmp_path).stdout == "ran\n"
    assert not (tmp_path / f"{file}.lock").exists()


def test_a_zombies_lock_is_opened(tmp_path: Path, useradd: subprocess.Popen[bytes]) -> None:
    (tmp_path / "passwd.lock").write_text(str(useradd.pid))
    useradd.kill()  # and not waited for
    assert run(tmp_path).stdout == "ran\n"


def test_whoever_is_at_work_is_waited_for(tmp_path: Path, useradd: subprocess.Popen[bytes]) -> None:
    lock = tmp_path / "passwd.lock"
    lock.write_text(str(useradd.pid))
    began = time.monotonic()
    with subprocess.Popen(["/bin/sh", "-c", 'sleep 0.8; rm "$0"', lock]) as other:
        assert run(tmp_path, "10").stdout == "ran\n"
        other.wait()
    assert time.monotonic() - began > 0.7


def test_whoever_is_at_work_too_long_is_named_and_his_lock_left_alone(
    tmp_path: Path, useradd: subprocess.Popen[bytes]
) -> None:
    lock = tmp_path / "passwd.lock"
    lock.write_text(f"{useradd.pid}\0")
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{lock} has been held for 1 s by pid {useradd.pid} (useradd)\nHINT: ")
    assert lock.read_text() == f"{useradd.pid}\0"
