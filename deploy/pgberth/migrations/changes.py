"""Operations that an operator asks for by name: down, rehearsal, erasure."""

from __future__ import annotations

from typing import Any

from pyinfra import host, logger

from pgberth import commands
from pgberth.commands import guarded_operation
from pgberth.container.context import TenantContext
from pgberth.database.problems import named, reported
from pgberth.database.session import connect, reached
from pgberth.migrations import ledger, runner
from pgberth.migrations.erase import SUBJECTS, Erasure, erase
from pgberth.migrations.operations import as_migrator
from pgberth.migrations.plan import plan_down
from pgberth.migrations.rehearse import DROP_SCRIPT, SCRATCH, SCRATCH_SCRIPT, Rehearsal, rehearse
from pgberth.migrations.session import Connect
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.roles import DATABASE, MIGRATOR
from pgberth.model.server import Server
from pgberth.model.tenant import Tenant


@guarded_operation()
def reverted(context: TenantContext) -> Any:
    """
    Components above their target are taken down to it, after a dump that was proven readable.

    The dump is <start of the run>-before-down.dump in the tenant's directory.
    """
    tenant, server = context.tenant, context.require_server()
    try:
        above = [component for component in tenant.ordered_components if _above(tenant, component, server)]
    except Refused as refused:
        raise Refused(named(tenant, refused.problems)) from refused
    if not above:
        return
    place = f"{layout.directory(tenant.name)}/dumps"
    name = f"{context.receipt.started:%Y%m%dT%H%M%SZ}-before-down.dump"
    container, bindir = context.observe().container, _bindir(context)
    dump = context.change(commands.script("container/dump.sh"), tenant.name, bindir, place, name, timeout=3600)
    yield context.explained(dump, container)
    context.invalidate()

    def work(connect: Connect) -> None:
        # The component applied last goes first: it may depend on those before it.
        for component in reversed(above):
            version = tenant.target(component)
            if version is not None:
                runner.revert(connect, component, version, tenant.parameters.get(component))

    yield as_migrator(context, work)


def _above(tenant: Tenant, component: str, server: Server) -> bool:
    version = tenant.target(component)
    heads = ledger.heads_of(server.ledger)
    return version is not None and bool(plan_down(component, heads, version, tenant.parameters.get(component)))


def _bindir(context: TenantContext) -> str:
    container = context.observe().container
    return container.bindir if container is not None else ""


@guarded_operation()
def rehearsed(context: TenantContext) -> Any:
    """Prints SQL, locks and changes of a migrate, after a trial on a schema-only copy. The live one is only read."""
    context.require_server()
    inside, container, bindir = commands.script("container/inside.sh"), context.observe().container, _bindir(context)
    for component in context.tenant.ordered_components:
        copy = context.change(inside, context.name, bindir, timeout=600, stdin=SCRATCH_SCRIPT)
        yield context.explained(copy, container)
        yield reported(context.tenant, lambda component=component: _rehearse(context, component))  # type: ignore[misc]
    yield context.change(inside, context.name, bindir, stdin=DROP_SCRIPT)
    # A copy came and went; nothing of the tenant has changed.
    context.changed = False


def _rehearse(context: TenantContext, component: str) -> None:
    tenant, password = context.tenant, context.secret("migrator")
    with reached(context.port) as address:
        rehearsal = rehearse(
            lambda: connect(address, MIGRATOR, password, database=DATABASE),
            lambda: connect(address, MIGRATOR, password, database=SCRATCH),
            component,
            tenant.parameters.get(component),
            to=tenant.target(component),
        )
    for line in rehearsal_lines(rehearsal):
        logger.info(f"{host.print_prefix}{line}")


def rehearsal_lines(rehearsal: Rehearsal) -> list[str]:
    """A rehearsal as an operator reads it."""
    lines = [] if rehearsal.steps else [f"{rehearsal.component}: nothing to do"]
    for step in rehearsal.steps:
        lines += [f"{step.migration.title} would run:", *step.migration.up.splitlines()]
        lines += [f"{step.migration.title} would lock {lock.table} in {lock.mode}" for lock in step.locks]
    return lines + [f"{rehearsal.component}: {change.as_change}" for change in rehearsal.changes]


@guarded_operation()
def erased(context: TenantContext, erasure: Erasure) -> Any:
    """Every row of one subject is gone from the append-only tables, and a tombstone stands in the ledger."""
    component = SUBJECTS[erasure.kind].component
    if component not in context.tenant.components:
        fact = f"{context.name}: it has no component {component!r}, so nothing of {erasure.subject}"
        raise Refused.because(fact, "is it the right tenant?")
    context.invalidate()

    def work(connect: Connect) -> None:
        rows = ", ".join(f"{count} of {table}" for table, count in erase(connect, erasure).items())
        host.log(f"{context.name}: erased {erasure.subject}: {rows}")

    yield as_migrator(context, work)
