"""Failures on the way to a server, as the tenant's problems and never as a stack trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pyinfra import logger
from pyinfra.api import FunctionCommand

from pgberth.model import diagnosis
from pgberth.model.problems import Problem, Refused
from pgberth.model.sessions import BLOCKS_ALL, Activity
from pgberth.model.tenant import Tenant

if TYPE_CHECKING:
    import psycopg


def named(tenant: Tenant, problems: Iterable[Problem]) -> list[Problem]:
    """The problems, each with its tenant in front."""
    return [Problem(f"{tenant.name}: {problem.fact}", problem.hint) for problem in problems]


def reported(tenant: Tenant, act: Callable[[], None]) -> FunctionCommand:
    """A command that runs Python code of ours; its problems fail the tenant's run."""
    return FunctionCommand(_act, (tenant, act), {})


def _act(state: Any, host: Any, tenant: Tenant, act: Callable[[], None]) -> bool:  # noqa: ARG001  (pyinfra's form)
    return run_reporting_problems(host, tenant, act)


def run_reporting_problems(
    host: Any, tenant: Tenant, act: Callable[[], None], activity: Callable[[], Activity] = Activity
) -> bool:
    """
    Whether it succeeded; otherwise its problems are printed as the tenant's.

    + activity: asks who is connected, after a failure that other sessions may have caused
    """
    import psycopg  # here: only a run that opens a session needs it

    try:
        act()
    except Refused as refused:
        problems = [*named(tenant, refused.problems), *_behind(tenant, refused, activity)]
    except psycopg.Error as error:
        problems = [server_problem(tenant, error, activity)]
    else:
        return True
    for problem in problems:
        logger.error(f"{host.print_prefix}{problem}")
    return False


def server_problem(tenant: Tenant, error: psycopg.Error, activity: Callable[[], Activity] = Activity) -> Problem:
    """What a server refused, with its cause, its culprits and its page."""
    words, state = server_words(error), error.sqlstate
    if diagnosis.diagnose(words, state) is diagnosis.UNKNOWN:
        return Problem(
            f"{tenant.name}: the server refused: {words}", f"{diagnosis.UNKNOWN.page} if it does not answer at all"
        )
    return diagnosis.problem(tenant.name, words, state, activity())


def server_words(error: psycopg.Error) -> str:
    """The server's own words. Without the DETAIL: of a failed CHECK it is the row."""
    return f"{error.diag.message_primary or error}".strip()


def _behind(tenant: Tenant, refused: Refused, activity: Callable[[], Activity]) -> list[Problem]:
    """Who holds the lock on which a step gave up; nothing where it was refused for another reason."""
    if all(diagnosis.diagnose(problem.fact) is not diagnosis.LOCK for problem in refused.problems):
        return []
    found = activity().holders(BLOCKS_ALL)
    return [Problem(f"{tenant.name}: {line}", diagnosis.LOCK.hint) for line in found]
