"""The whole matrix, or a sample of it drawn anew for each run."""

from __future__ import annotations

import os
import random

import pytest

from tests.crash.steps import Case
from tests.deploy.seed import SEED, VARIABLE

WHOLE = bool(os.environ.get("PGBERTH_CRASH_MATRIX"))

_TURNS = ("machine", "powered off", "silent")


def turn(what: str) -> None:
    """The dear grounds take turns, by the seed: in the whole matrix each has its own."""
    drawn_one = _TURNS[SEED % len(_TURNS)]
    if not WHOLE and what != drawn_one:
        pytest.skip(f"{VARIABLE}={SEED} has drawn the ground {drawn_one!r} for this run, not {what!r}")


def drawn(cases: list[Case], size: int) -> list[Case]:
    """So many of the cases, in their order; all of them where the whole matrix is asked for."""
    if WHOLE:
        return cases
    chosen = set(random.Random(SEED).sample(range(len(cases)), min(size, len(cases))))  # noqa: S311
    return [case for number, case in enumerate(cases) if number in chosen]
