"""Failures on the way to a server, as the tenant's problems and never as a stack trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyinfra import logger
from pyinfra.api import FunctionCommand

from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Tenant


def named(tenant: Tenant, problems: Iterable[Problem]) -> list[Problem]:
    """The problems, each with its tenant in front."""
    return [Problem(f"{tenant.name}: {problem.fact}", problem.hint) for problem in problems]


def reported(tenant: Tenant, act: Callable[[], None]) -> FunctionCommand:
    """A command that runs Python code of ours; its problems fail the tenant's run."""
    return FunctionCommand(_act, (tenant, act), {})


def _act(state: Any, host: Any, tenant: Tenant, act: Callable[[], None]) -> bool:  # noqa: ARG001  (pyinfra's form)
    return run_reporting_problems(host, tenant, act)


def run_reporting_problems(host: Any, tenant: Tenant, act: Callable[[], None]) -> bool:
    """Whether it succeeded; otherwise its problems are printed as the tenant's."""
    import psycopg  # here: only a run that opens a session needs it

    try:
        act()
    except Refused as refused:
        problems = named(tenant, refused.problems)
    except psycopg.Error as error:
        # Without the DETAIL: of a failed CHECK it is the row.
        fact = f"{tenant.name}: the server refused: {error.diag.message_primary or error}"
        problems = [Problem(fact.strip(), "runbooks/server-does-not-start.md if it does not answer at all")]
    else:
        return True
    for problem in problems:
        logger.error(f"{host.print_prefix}{problem}")
    return False
