"""Runs all checks of one tenant; a check that fails does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import psycopg

from pgberth.checks import access, configuration, container, history, memory, schema, search, tls
from pgberth.checks.context import Check, CheckContext
from pgberth.database.problems import server_words
from pgberth.database.session import within
from pgberth.model.diagnosis import UNKNOWN, culprits, diagnose
from pgberth.report.receipt import Result

ALL: tuple[Check, ...] = (
    *container.CHECKS,
    *configuration.CHECKS,
    *access.CHECKS,
    *tls.CHECKS,
    *schema.CHECKS,
    *search.CHECKS,
    *memory.CHECKS,
    *history.CHECKS,
)

CHECK_SECONDS = 15.0  # more than the statement_timeout of a check's sessions
SUITE_SECONDS = 60.0


def checks_for(
    components: tuple[str, ...], *, baseline: bool = False, beyond_loopback: bool = False
) -> tuple[Check, ...]:
    """
    The checks that apply to a tenant with these components.

    + baseline: whether there is one, or a reason why there is none
    + beyond_loopback: whether its server listens there
    """
    mine = (check for check in ALL if check.component is None or check.component in components)
    return tuple(
        check
        for check in mine
        if (baseline or not check.needs_baseline) and (beyond_loopback or not check.beyond_loopback)
    )


def run_observed(context: CheckContext) -> tuple[Result, ...]:
    """The checks that judge the observation alone; they ask the server nothing."""
    checks = (check for check in checks_for(context.tenant.tabled_components) if check.observed)
    return tuple(Result(check.id, tuple(check.find(context)), 0) for check in checks)


def run(context: CheckContext) -> tuple[Result, ...]:
    """
    Every check that applies, in order, within SUITE_SECONDS and a few more, however slow the server is.

    Where the data is not shown to be the tenant's, that check alone: the others would log in and write.
    """
    baseline = context.baseline is not None or bool(context.no_baseline)
    deadline = time.monotonic() + SUITE_SECONDS
    try:
        beyond = bool(context.listening)
        checks = checks_for(context.tenant.tabled_components, baseline=baseline, beyond_loopback=beyond)
        if context.state.foreign_data(context.tenant.name):
            checks = (container.IDENTITY,)
        explain = _explainer(context)
        return tuple(
            _result(check, context, min(CHECK_SECONDS, deadline - time.monotonic()), explain) for check in checks
        )
    finally:
        context.close()


def _result(check: Check, context: CheckContext, seconds: float, explain: Callable[[psycopg.Error], str]) -> Result:
    if seconds <= 0:
        return Result(check.id, (f"was not asked: the {SUITE_SECONDS:g} s for all checks were over",), 0)
    began = time.monotonic()
    problems: list[str] = []
    with within(seconds, lambda: context.open_sessions) as over:
        try:
            problems.extend(check.find(context))
        except psycopg.Error as error:
            # Problems found before stay in the list.
            gave_up = f"gave up after {seconds:.0f} s without an answer"
            problems.append(gave_up if over() else f"could not be asked: {explain(error)}")
    return Result(check.id, tuple(problems), time.monotonic() - began)


def _explainer(context: CheckContext) -> Callable[[psycopg.Error], str]:
    """In the server's own words, why a check could not be asked. Who is behind it is asked once, and named once."""
    named: set[str] = set()
    activity = cache(context.ask_activity)

    def explain(error: psycopg.Error) -> str:
        words = server_words(error)
        cause = diagnose(words, error.sqlstate)
        behind = [line for line in culprits(cause, activity()) if line not in named] if cause is not UNKNOWN else []
        named.update(behind)
        return "; ".join([words, *behind])

    return explain
