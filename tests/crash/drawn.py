"""The whole matrix, or a sample of it drawn for each run."""

from __future__ import annotations

import pytest

from tests.crash.steps import Case
from tests.sampling import ALL, SEED, SEED_VARIABLE, sample

_TURNS = ("machine", "powered off", "silent")


def turn(what: str) -> None:
    """The expensive grounds take turns, by the seed: in the whole matrix each has its own."""
    drawn_one = _TURNS[SEED % len(_TURNS)]
    if not ALL and what != drawn_one:
        pytest.skip(f"{SEED_VARIABLE}={SEED} has drawn the ground {drawn_one!r} for this run, not {what!r}")


def drawn(cases: list[Case], size: int) -> list[Case]:
    """So many of the cases, in their order; all of them where the whole matrix is asked for."""
    return sample(cases, size, "crashes")
