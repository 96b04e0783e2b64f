"""The matrix as a table, at the end of the run."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.crash.steps import Outcome
from tests.sampling import SEED, SEED_VARIABLE

TAKEN: list[Outcome] = []
WELL = "healed, no changes after"


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """A line a step, with what it has met and what came of it."""
    rows: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault((outcome.ground, f"{outcome.case.step.number:3} {outcome.case.step}"), []).append(outcome)
    lines = []
    for (ground, step), met in rows.items():
        faults = "; ".join(f"{one.case.fault} at {one.case.share:.0%}" for one in met)
        wrong = [f"BROKEN by {one.case.fault}: {one.wrong[0].splitlines()[0][:200]}" for one in met if one.wrong]
        lines.append(f"{ground} | {step[:110]} | {faults} | {'; '.join(wrong) or WELL}")
    return lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TAKEN:
        terminalreporter.section("crash matrix")
        for line in table(TAKEN):
            terminalreporter.write_line(line)
        broken = sum(bool(outcome.wrong) for outcome in TAKEN)
        terminalreporter.write_line(f"{len(TAKEN)} cases, {broken} broken; drawn from {SEED_VARIABLE}={SEED}")


def judge(outcomes: list[Outcome]) -> None:
    """Keep them for the table; all of them were healed."""
    TAKEN.extend(outcomes)
    assert outcomes
    wrong = "\n".join(f"{one.case}: {line}" for one in outcomes for line in one.wrong)
    assert not wrong, wrong  # whole: pytest would cut a comparison short
