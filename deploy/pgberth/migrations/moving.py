"""Operations: what an older installation left stops a tenant, is moved into its schema, or is copied there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyinfra import host

from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.migrations.ledger import heads_of
from pgberth.migrations.operations import as_migrator
from pgberth.model.problems import Problem, Refused
from pgberth.model.server import AccessFinding, Server
from pgberth.model.tenant import MEMORY_PLUGIN

if TYPE_CHECKING:
    from pgberth.migrations.session import Connect

PAGE = "runbooks/move-into-the-schema.md"
MODES = ("dry-run", "apply", "verify")


def misplaced(server: Server | None) -> list[AccessFinding]:
    """Tables of the memory plugin in public, counted, and pgvector in another schema than public."""
    return [
        found
        for found in (server.access if server is not None else ())
        if found.kind == "legacy" or (found.kind == "extension" and found.problem.startswith("is in schema"))
    ]


@guarded_operation()
def nothing_misplaced(context: TenantContext) -> Commands:
    """
    No rows of an older installation lie in public, and pgvector lies in no component's schema.

    Checked before the first migration: after it the app's search_path hides the tables in public, and a schema that
    holds pgvector would take it along when it is dropped.
    """
    yield from ()
    if found := misplaced(context.observe().server):
        *facts, last = (f"{context.name}: {finding}" for finding in found)
        hint = f"nothing of it was touched; deploy/move.py brings it where it belongs: {PAGE}"
        raise Refused([*map(Problem, facts), Problem(last, hint)])


@guarded_operation()
def set_aside(context: TenantContext) -> Commands:
    """Public holds pgvector and none of the memory plugin's tables; those wait in a schema of their own."""
    server = context.observe().server
    found = misplaced(server)
    if server is None or not found:
        return
    for finding in found:
        host.noop(f"moving: {finding}")
    begun = any(head.component == MEMORY_PLUGIN for head in heads_of(server.ledger))
    from pgberth.migrations import legacy  # with the driver, as below: provision needs neither

    yield context.superuser(legacy.aside_script(begun=begun))


@guarded_operation()
def brought_over(context: TenantContext) -> Any:
    """What waited aside is in memory_plugin; the receipt counts the rows of each table."""
    from pgberth.migrations import legacy

    server, did = context.observe().server, context.receipt.did
    if server is None or all(found.object != f"schema {legacy.ASIDE}" for found in server.access):
        return
    context.invalidate()

    def work(connect: Connect) -> None:
        did.update(legacy.bring_over(connect))
        rows = ", ".join(f"{count} of {table}" for table, count in did.items())
        host.log(f"{context.name}: brought over: {rows or 'nothing'}")

    yield as_migrator(context, work)


@guarded_operation()
def backfilled(context: TenantContext, schema: str, mode: str) -> Any:
    """agent_memories of that schema are in memory_plugin; see legacy.backfill."""
    did = context.receipt.did
    if MEMORY_PLUGIN not in context.tenant.tabled_components:
        fact = f"{context.name}: it has no component {MEMORY_PLUGIN!r}"
        raise Refused.because(fact, "give it that component in the inventory, and deploy")
    if mode == "apply":
        context.invalidate()

    def work(connect: Connect) -> None:
        from pgberth.migrations import legacy

        did.update(legacy.backfill(connect, schema, mode))
        counts = ", ".join(f"{name} {number}" for name, number in did.items())
        host.log(f"{context.name}: {mode}: {counts}")
        if did["missing"] and mode != "dry-run":
            rows = f"{did['missing']} of {did['rows']} rows of {schema}.agent_memories"
            fact = f"{rows} are not in {MEMORY_PLUGIN} as they are"
            raise Refused.because(fact, "nothing was changed; runbooks/backfill-agent-memories.md")

    yield as_migrator(context, work)
