"""What brings a tenant's schemas to their versions, in sessions of the migrator."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra import host, logger

from pgberth.migrations import ledger, repair, runner
from pgberth.migrations.plan import plan_up
from pgberth.migrations.session import Connect, RetryPolicy, shared
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Tenant


def upgrade(connect: Connect, tenant: Tenant, *, behind: Iterable[str], broken: Iterable[str]) -> None:
    """
    Apply what the components `behind` lack, and create again what the components `broken` lost.

    Raises Refused, and psycopg.Error where the server refuses.
    """
    # One session for all components: a new session must read the catalogue again.
    with shared(connect) as session:
        for component in behind:
            runner.apply(session, component, tenant.parameters.get(component), to=tenant.target(component))
        for component in broken:
            _repair(session, tenant, component)


def refuse_in_full(connect: Connect, tenant: Tenant) -> None:
    """Raises Refused with all that is wrong with the applied history; the ledger's bodies show the difference."""
    problems: list[Problem] = []
    with shared(connect) as session:
        for component in tenant.ordered_components:
            try:
                with runner.running(session, component, RetryPolicy()) as connection:
                    heads = ledger.heads(connection, component)
                plan_up(component, heads, tenant.parameters.get(component), to=tenant.target(component))
            except Refused as refused:
                problems += refused.problems
    nothing = "its migrations were refused when they were planned, and a second look finds nothing wrong"
    raise Refused(problems or [Problem(nothing, "nothing was applied; run the deploy again")])


def _repair(connect: Connect, tenant: Tenant, component: str) -> None:
    done = repair.repair(connect, component, tenant.parameters.get(component))
    for fixed in done.fixed:
        logger.info(f"{host.print_prefix}repaired: {fixed}")
    for obstacle in done.obstacles:
        logger.warning(f"{host.print_prefix}not repaired: {obstacle}")
