"""
What an everyday run tries of a long list: a drawn sample. A whole run (`make test-all`) tries all of it.

A test names what may be left out of an everyday run:

    @pytest.mark.sampled(2)                  two of the cases of this test
    @pytest.mark.sampled(1, of="place")      cases with one of the values of the fixture `place`, drawn once per module

Each change of the sources draws again, and the same sources draw the same: a run that failed fails again. Another seed
draws another sample. Nothing is left out where cases are selected by their own names: FILE::TEST[CASE].
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

ALL_VARIABLE = "PGBERTH_TEST_ALL"
SEED_VARIABLE = "PGBERTH_TEST_SEED"
_MARK = "sampled"

Case = TypeVar("Case")


def _seed_of_the_sources() -> int:
    """A number from the committed tree; by chance where the sources are not under version control."""
    command = ["git", "rev-parse", "HEAD^{tree}"]
    tree = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return int(tree.stdout[:8], 16) % 1_000_000 if tree.returncode == 0 else secrets.randbelow(1_000_000)


ALL = bool(os.environ.get(ALL_VARIABLE))
SEED = int(os.environ.get(SEED_VARIABLE) or _seed_of_the_sources())


def sample(cases: Sequence[Case], size: int, name: str) -> list[Case]:
    """
    `size` of the cases, in their order; all of them in a whole run.

    + name: of the list; lists of different names are drawn independently
    """
    if ALL or size >= len(cases):
        return list(cases)
    chosen = set(random.Random(f"{SEED} {name}").sample(range(len(cases)), size))  # noqa: S311
    return [case for number, case in enumerate(cases) if number in chosen]


def often(everyday: int, whole: int) -> int:
    """How many times to repeat what is repeated for its own sake."""
    return whole if ALL else everyday


_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    # No deadline: an example that a busy machine keeps waiting is not a slow one.
    settings.register_profile("everyday", deadline=None)
    settings.register_profile("whole", deadline=None, max_examples=1000)
    settings.load_profile("whole" if ALL else "everyday")
    config.addinivalue_line("markers", "sampled(size, of=None): an everyday run tries so many of the cases")


def pytest_report_header() -> str:
    if ALL:
        return f"a whole run: every case is tried; chance is drawn from {SEED_VARIABLE}={SEED}"
    return f"an everyday run: samples are drawn from {SEED_VARIABLE}={SEED}; {ALL_VARIABLE}=1 tries every case"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if ALL or any("[" in argument for argument in config.args):
        return
    before = list(items)
    notes = config.stash.setdefault(_LEFT_OUT, [])
    # The values of a fixture first: a test's own cases are drawn from what these leave.
    for by_value in (True, False):
        left_out = set(_left_out(_sampled(items, by_value), notes))
        items[:] = [item for item in items if item not in left_out]
    if len(items) < len(before):
        kept = set(items)
        config.hook.pytest_deselected(items=[item for item in before if item not in kept])


Sampled = dict[tuple[str, int], dict[str, list[pytest.Item]]]  # (what is sampled, size) -> case -> its items


def _left_out(sampled: Sampled, notes: list[str]) -> Iterable[pytest.Item]:
    """Items of the cases that are not drawn. Adds a note for each list of which only a part is tried."""
    for (name, size), cases in sampled.items():
        chosen = sample(list(cases), size, name)
        if len(chosen) < len(cases):
            notes.append(f"{name}: {len(chosen)} of {len(cases)}")
        yield from (item for case, members in cases.items() if case not in chosen for item in members)


def _sampled(items: Iterable[pytest.Item], by_value: bool) -> Sampled:
    """What the marks of these items name. + by_value: marks with `of`; the others otherwise"""
    found: Sampled = {}
    for item in items:
        marks = [mark for mark in item.iter_markers(_MARK) if ("of" in mark.kwargs) is by_value]
        # A test's own mark stands in the place of its module's.
        for mark in marks if by_value else marks[:1]:
            name, _, case = item.nodeid.partition("[")
            if by_value:
                of = mark.kwargs["of"]
                name = f"{item.location[0]}, {of}"
                case = str(getattr(item, "callspec").params[of])  # noqa: B009  (not every item has one)
            found.setdefault((name, mark.args[0]), {}).setdefault(case, []).append(item)
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if notes := config.stash.get(_LEFT_OUT, []):
        terminalreporter.section("sampled")
        for note in notes:
            terminalreporter.line(note)
        terminalreporter.line(f"drawn from {SEED_VARIABLE}={SEED}; `make test-all` tries every case")
