"""An everyday run draws some of the cases of a long list and says so; a whole run tries them all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sampling

REPO = Path(__file__).resolve().parents[1]
CASES = """
import pytest

@pytest.mark.sampled(2)
@pytest.mark.parametrize("number", range(6))
def test_some(number):
    pass

@pytest.fixture(params=["old", "new"])
def place(request):
    return request.param

@pytest.mark.sampled(1, of="place")
def test_here(place):
    pass

@pytest.mark.sampled(1, of="place")
@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", range(3))
def test_there(place, number):
    pass

def test_always():
    pass
"""


def run(place: Path, *options: str, **environment: str) -> tuple[list[str], str]:
    """(names of the tests that ran, all that was printed) of these cases."""
    (place / "test_cases.py").write_text(CASES)
    without = {name: text for name, text in os.environ.items() if not name.startswith("PGBERTH_TEST_")}
    alone = {"PYTHONPATH": str(REPO), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "tests.sampling", *options]
    ended = subprocess.run(
        command, cwd=place, env=without | alone | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    names = [line.split("::")[1].split()[0] for line in ended.stdout.splitlines() if " PASSED" in line]
    return names, ended.stdout


def test_an_everyday_run_draws_a_sample_and_says_of_what(tmp_path: Path) -> None:
    names, said = run(tmp_path, PGBERTH_TEST_SEED="7")
    assert sum(name.startswith("test_some") for name in names) == 2
    assert sum(name.startswith("test_there") for name in names) == 1
    assert "test_always" in names
    # The values of a fixture are drawn once for a module.
    (here,) = (name for name in names if name.startswith("test_here"))
    (there,) = (name for name in names if name.startswith("test_there"))
    assert here.partition("[")[2].rstrip("]") in there
    assert "test_cases.py::test_some: 2 of 6\n" in said
    assert "test_cases.py, place: 1 of 2\n" in said
    assert "drawn from PGBERTH_TEST_SEED=7" in said


def test_a_seed_draws_the_same_each_time_and_another_one_another_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(seed: int) -> list[int]:
        monkeypatch.setattr(sampling, "SEED", seed)
        return sampling.sample(range(100), 5, "numbers")

    monkeypatch.setattr(sampling, "ALL", False)
    assert drawn(7) == drawn(7)
    assert len({tuple(drawn(seed)) for seed in range(20)}) > 10
    assert sampling.sample(range(100), 5, "numbers") != sampling.sample(range(100), 5, "others")


def test_a_whole_run_tries_every_case(tmp_path: Path) -> None:
    names, said = run(tmp_path, PGBERTH_TEST_ALL="1")
    assert len(names) == 6 + 2 + 6 + 1
    assert "a whole run: every case is tried" in said


def test_a_case_that_is_selected_by_its_name_is_not_left_out(tmp_path: Path) -> None:
    names = [f"test_some[{number}]" for number in (0, 3, 5)]
    assert run(tmp_path, *(f"test_cases.py::{name}" for name in names))[0] == names


@pytest.mark.parametrize(("whole", "tried"), [(False, 2), (True, 9)])
def test_a_list_that_is_drawn_from_and_what_is_repeated(
    monkeypatch: pytest.MonkeyPatch, whole: bool, tried: int
) -> None:
    monkeypatch.setattr(sampling, "ALL", whole)
    assert len(sampling.sample(range(9), 2, "numbers")) == tried
    assert sampling.often(2, whole=9) == tried
    assert sampling.sample(range(9), 12, "numbers") == list(range(9))
