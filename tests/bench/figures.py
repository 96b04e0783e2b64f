"""Figures beside their floors: taken in turn, told in one table at the end of the run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """
    One line of the table.

    + absolute, floor: with their units; floor is "-" where the limit itself is an absolute one
    + ratio, limit: what is judged, ratio at most limit; 0 for what is told and not judged
    """

    name: str
    absolute: str
    floor: str
    ratio: float
    limit: float = 0.0

    @property
    def holds(self) -> bool:
        return not self.limit or self.ratio <= self.limit


TAKEN: list[Figure] = []


def take(figure: Figure) -> None:
    """Keep a figure for the table, and hold it to its limit."""
    TAKEN.append(figure)
    assert figure.holds, f"{figure.name}: {figure.absolute} is {figure.ratio:.2f}, limit {figure.limit:.2f}"


def table(figures: Iterable[Figure]) -> list[str]:
    """The lines as aligned text, with a heading."""
    rows = [("", "absolute", "floor", "ratio", "limit")]
    for figure in figures:
        limit = f"{figure.limit:.2f}" if figure.limit else "told only"
        broken = "" if figure.holds else "  BROKEN"
        rows.append((figure.name, figure.absolute, figure.floor, f"{figure.ratio:.2f}", limit + broken))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def middle(values: Iterable[float]) -> float:
    """
    The median.

    Of ratios within a pair where there is one: whatever else the machine does while a pair is taken slows both of it.
    """
    return statistics.median(values)


def ms(value: float) -> str:
    return f"{value * 1000:.1f} ms"


def s(value: float) -> str:
    return f"{value:.2f} s"
