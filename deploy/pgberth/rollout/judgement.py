"""What decides whether a container stays: all is repaired first, and then only what a swap can change is judged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import psycopg
from pyinfra.api import StringCommand

from pgberth.checks.operations import judge
from pgberth.checks.swap import BY_CHECK, Swap
from pgberth.container.context import TenantContext
from pgberth.database.operations import access_current, configuration_current
from pgberth.database.tls import certificate_current
from pgberth.migrations.operations import repair_schemas
from pgberth.model.problems import Problem, Refused
from pgberth.report.receipt import Result


def repair(context: TenantContext) -> None:
    """
    Restore what a deploy restores while the server runs: certificate, configuration, roles and rights, schemas.

    What cannot be repaired is noted: whether it counts is for the checks to say.
    """
    for operation in (certificate_current, configuration_current, access_current):
        _try(context, partial(_run, context, operation._inner(context=context)))
    _try(context, partial(repair_schemas, context))


def _run(context: TenantContext, steps: Iterable[StringCommand]) -> None:
    for command in steps:
        context.run(command)


def _try(context: TenantContext, act: Callable[[], None]) -> None:
    try:
        act()
    except Refused as refused:
        facts = [problem.fact.removeprefix(f"{context.name}: ") for problem in refused.problems]
    except psycopg.Error as error:
        facts = [str(error.diag.message_primary or error).strip()]
    else:
        return
    context.receipt.notes += [f"not repaired: {fact}" for fact in facts]


def red_checks(context: TenantContext) -> list[Result]:
    """The red checks of the suite, run now. Raises Refused where it cannot run."""
    context.receipt.results = None
    problems = judge(context)
    if context.receipt.results is None:
        raise Refused(problems)
    return context.receipt.failed_checks


def preventing(red: Iterable[Result]) -> list[Result]:
    """The red checks for which a tenant is not interrupted: afterwards nobody could say what made them red."""
    return [result for result in red if _swap(result) is Swap.CAUSES]


def caused(red: Iterable[Result], before: Collection[str]) -> list[Result]:
    """The red checks that the swap may have caused. + before: the ids of those that were red before it"""
    return [result for result in red if _swap(result) is not Swap.NEITHER and result.id not in before]


def _swap(result: Result) -> Swap:
    return BY_CHECK[result.id]


def described(tenant: str, red: Sequence[Result], hint: str = "") -> list[Problem]:
    """A problem for each fact of these checks; the last one carries the hint."""
    facts = [f"{tenant}: {result.id}: {problem}" for result in red for problem in result.problems]
    return [*map(Problem, facts[:-1]), *(Problem(fact, hint) for fact in facts[-1:])]
