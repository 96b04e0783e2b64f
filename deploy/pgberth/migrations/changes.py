"""Verbs that an operator asks for by name: down, rehearsal, erasure."""

from __future__ import annotations

from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, operation

from pgberth import commands
from pgberth.container.context import TenantContext
from pgberth.database.probe import Server
from pgberth.database.problems import named, run_reporting_problems
from pgberth.database.session import connect, reached
from pgberth.migrations import ledger, runner
from pgberth.migrations.erase import KINDS, Erasure, erase
from pgberth.migrations.operations import as_migrator, target
from pgberth.migrations.plan import plan_down
from pgberth.migrations.rehearse import DROP_SCRIPT, SCRATCH, SCRATCH_SCRIPT, Rehearsal, rehearse
from pgberth.migrations.session import Connect
from pgberth.model import layout
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import DATABASE, MIGRATOR
from pgberth.model.tenant import Tenant

# A logical dump of everything, read to its end before anything goes down: a list of contents is whole in a dump that is
# cut short. Its name is the only thing that is told.
_DUMP = """set -eu; umask 077
container=$1 bindir=$2 place=$3 name=$4 new=$3/.$4.new
mkdir -p "$place"
trap 'rm -f "$new"' EXIT
podman exec -i "$container" "$bindir/pg_dump" -h /run/postgresql -U postgres -d memory -Fc > "$new"
podman exec -i "$container" "$bindir/pg_restore" -f /dev/null < "$new"
sync "$new"; mv "$new" "$place/$name"; sync "$place"
"""


@operation()
def reverted(context: TenantContext, stamp: str) -> Any:
    """
    Components that are above their target are taken down to it, after a dump that was proven readable.

    + stamp: goes into the dump's name, <stamp>-before-down.dump in the tenant's directory
    """
    state, tenant = context.observe(), context.tenant
    server = Server.of(state) if state is not None else None
    if state is None or state.container is None or server is None:
        yield commands.refuse(Problem(f"{tenant.name}: the server does not answer", "run deploy/verify.py"))
        return
    try:
        above = [component for component in tenant.ordered_components if _above(tenant, component, server)]
    except Refused as refused:
        yield commands.refuse(*named(tenant, refused.problems))
        return
    if not above:
        return
    place = f"{layout.directory(tenant.name)}/dumps"
    bindir = state.container.labels[layout.BINDIR_LABEL]
    yield context.change(_DUMP, tenant.name, bindir, place, f"{stamp}-before-down.dump", timeout=3600)
    context.invalidate()

    def work(connect: Connect) -> None:
        # The last applied goes first: a component may rest on those before it.
        for component in reversed(above):
            desired = target(tenant, component)
            if desired is not None:
                runner.revert(connect, component, desired, tenant.parameters.get(component))

    yield FunctionCommand(as_migrator, (context, work), {})


def _above(tenant: Tenant, component: str, server: Server) -> bool:
    desired = target(tenant, component)
    heads = ledger.heads_of(server.ledger)
    return desired is not None and bool(plan_down(component, heads, desired, tenant.parameters.get(component)))


# The image's own clients, by their plain names, as the superuser on the socket.
_BESIDE = """set -eu
exec podman exec -i --env "PATH=$2:/usr/bin:/bin" --env PGHOST=/run/postgresql --env PGUSER=postgres "$1" /bin/sh -s
"""


@operation()
def rehearsed(context: TenantContext) -> Any:
    """What migrate would do, tried on a schema-only copy and told: SQL, locks, changes. The live one is only read."""
    state, tenant = context.observe(), context.tenant
    if state is None or state.container is None or state.server is None:
        yield commands.refuse(Problem(f"{tenant.name}: the server does not answer", "run deploy/verify.py"))
        return
    bindir = state.container.labels[layout.BINDIR_LABEL]
    for component in tenant.ordered_components:
        yield context.change(_BESIDE, tenant.name, bindir, timeout=600, stdin=SCRATCH_SCRIPT)
        yield FunctionCommand(_tell_rehearsal, (context, component), {})
    yield context.change(_BESIDE, tenant.name, bindir, stdin=DROP_SCRIPT)
    # A copy came and went; nothing of the tenant is another.
    context.changed = False


def _tell_rehearsal(state: Any, host: Any, context: TenantContext, component: str) -> bool:  # noqa: ARG001
    tenant, password = context.tenant, context.secret("migrator")

    def act() -> None:
        with reached(context.port) as address:
            found = rehearse(
                lambda: connect(address, MIGRATOR, password, database=DATABASE),
                lambda: connect(address, MIGRATOR, password, database=SCRATCH),
                component,
                tenant.parameters.get(component),
                to=target(tenant, component),
            )
        for line in rehearsal_lines(found):
            logger.info(f"{host.print_prefix}{line}")

    return run_reporting_problems(host, tenant, act)


def rehearsal_lines(found: Rehearsal) -> list[str]:
    """A rehearsal as an operator reads it."""
    lines = [] if found.steps else [f"{found.component}: nothing to do"]
    for step in found.steps:
        lines += [f"{step.migration.title} would run:", *step.migration.up.splitlines()]
        lines += [f"{step.migration.title} would lock {lock.table} in {lock.mode}" for lock in step.locks]
    return lines + [f"{found.component}: {change.as_change}" for change in found.changes]


@operation()
def erased(context: TenantContext, desired: Erasure) -> Any:
    """Every row of one subject is gone from the append-only tables, and a tombstone stands in the ledger."""
    component = KINDS[desired.kind].component
    if component not in context.tenant.components:
        fact = f"{context.tenant.name}: it has no component {component!r}, so nothing of {desired.subject}"
        yield commands.refuse(Problem(fact, "is it the right tenant?"))
        return
    context.invalidate()

    def work(connect: Connect) -> None:
        gone = erase(connect, desired)
        told = ", ".join(f"{rows} of {table}" for table, rows in gone.items())
        host.log(f"{context.tenant.name}: erased {desired.subject}: {told}")

    yield FunctionCommand(as_migrator, (context, work), {})
