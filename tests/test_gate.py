"""The gate: it passes where tests ran and passed, and nowhere else."""

from __future__ import annotations

import os
import re
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


# A pytest that ends as its group is told to by the environment: "unit=0 deploy=1 hosts=0".
FAKE = """#!/bin/sh
case "$*" in *--ignore*) name=unit;; *tests/deploy*) name=deploy;; *) name=hosts; sleep 0.3;; esac
echo "$name ran"; echo "==== 7 passed in 0.10s ===="
for one in $CODES; do [ "${one%=*}" != $name ] || exit "${one#*=}"; done
"""


def groups(place: Path, text: str, **environment: str) -> subprocess.Popen[str]:
    """The groups' runner, with a pytest of this text."""
    pytest = place / "pytest"
    pytest.write_text(text)
    pytest.chmod(0o755)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.groups"],
        cwd=GATE.parents[1],
        env={**os.environ, "PYTEST": str(pytest), **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ("unit=0 deploy=0 hosts=0", 0),
        ("unit=1 deploy=0 hosts=0", 1),
        ("unit=0 deploy=1 hosts=0", 1),
        ("unit=0 deploy=0 hosts=1", 1),
        ("unit=0 deploy=5 hosts=0", 5),
        ("unit=0 deploy=0 hosts=5", 5),
        ("unit=1 deploy=0 hosts=3", 1),
    ],
)
def test_a_run_passes_only_where_every_group_does(tmp_path: Path, codes: str, code: int) -> None:
    with groups(tmp_path, FAKE, CODES=codes) as run:
        output, _ = run.communicate(timeout=60)
    assert run.returncode == code
    told = dict(re.findall(r"^(\w+) +\d+ s  exit (\d+)  7 passed in 0.10s$", output, re.MULTILINE))
    assert [f"{name}={ended}" for name, ended in told.items()] == codes.split()
    # Each group's output is printed once and whole, under its name.
    for name in told:
        assert re.search(rf"^######## {name}: \d+ s\n{name} ran$", output, re.MULTILINE), output
        assert output.count(f"{name} ran") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupted", "terminated"])
def test_a_run_that_is_ended_ends_every_group_and_waits_for_its_end(tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    text = f"#!/bin/sh\ntrap 'echo removed; exit 2' INT\necho $$ >> {pids}; while :; do sleep 0.1; done\n"
    with groups(tmp_path, text) as run:
        wait_for("all groups", lambda: "" if pids.exists() and len(pids.read_text().split()) == 3 else "not yet", 60)
        run.send_signal(number)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert output.count("removed\n") == 3
    assert not [pid for pid in pids.read_text().split() if Path("/proc", pid).exists()]
