"""The gate: it passes where tests ran and passed, and nowhere else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.commands import wait_for

GATE = Path(__file__).resolve().parents[1] / ".ci/run"


def gate(place: Path, says: str, code: int) -> int:
    """The gate's exit code in a tree whose `make test` says this and ends so."""
    (place / ".ci").mkdir()
    shutil.copy(GATE, place / ".ci/run")
    (place / "Makefile").write_text(f"test:\n\t@echo '{says}'; exit {code}\n")
    return subprocess.run([place / ".ci/run"], capture_output=True, check=False).returncode


def test_tests_that_passed_pass_the_gate(tmp_path: Path) -> None:
    assert gate(tmp_path, "12 passed, 1 skipped in 3.00s", 0) == 0


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ("12 passed, 1 failed in 3.00s", 1),
        ("no tests ran in 0.01s", 5),
        ("4242 deselected in 1.00s", 5),
        ("4242 deselected in 1.00s", 0),
        ("7 skipped in 1.00s", 0),
        ("0 passed in 1.00s", 0),
        ("", 0),
    ],
)
def test_a_failure_and_a_run_in_which_no_test_passed_do_not(tmp_path: Path, says: str, code: int) -> None:
    assert gate(tmp_path, says, code) != 0


def test_a_selection_that_collects_nothing_ends_pytest_with_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text("def test_one():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "nothing_like_it", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).returncode == 5


def halves(place: Path, hosts: int, others: int) -> tuple[int, str]:
    """The exit code and words of a test run whose halves end so."""
    (place / ".ci").mkdir()
    shutil.copy(GATE.with_name("test"), place / ".ci/test")
    says = f"*--ignore*) echo others; exit {others};; *) sleep 0.3; echo hosts; exit {hosts};;"
    (place / "pytest").write_text(f'#!/bin/sh\ncase "$*" in {says} esac\n')
    (place / "pytest").chmod(0o755)
    run = ["env", f"PYTEST={place}/pytest", "sh", str(place / ".ci/test")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("hosts", "others", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (5, 0, 5), (0, 5, 5), (3, 1, 1)]
)
def test_a_run_passes_only_where_both_its_halves_do(tmp_path: Path, hosts: int, others: int, code: int) -> None:
    assert halves(tmp_path, hosts, others) == (code, "others\nhosts\n")


def test_a_run_that_is_ended_ends_both_its_halves(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(GATE.with_name("test"), tmp_path / ".ci/test")
    pids = tmp_path / "pids"
    (tmp_path / "pytest").write_text(f"#!/bin/sh\necho $$ >> {pids}; exec sleep 60\n")
    (tmp_path / "pytest").chmod(0o755)
    run = ["env", f"PYTEST={tmp_path}/pytest", "sh", str(tmp_path / ".ci/test")]
    with subprocess.Popen(run, start_new_session=True) as started:
        wait_for("both halves", lambda: "" if pids.exists() and len(pids.read_text().split()) == 2 else "not yet", 10)
        os.killpg(started.pid, signal.SIGINT)
        assert started.wait(timeout=10) == 130
    assert not [pid for pid in pids.read_text().split() if Path("/proc", pid).exists()]
