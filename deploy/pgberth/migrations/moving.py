"""Verbs: what an older installation left stops a tenant, is moved where it belongs, or is copied there."""

from __future__ import annotations

from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.database.probe import Finding, Server
from pgberth.migrations import legacy
from pgberth.migrations.ledger import heads_of
from pgberth.migrations.operations import as_migrator
from pgberth.migrations.session import Connect
from pgberth.model.problems import Problem, Refused

PAGE = "runbooks/move-into-the-schema.md"
COMPONENT = "memory_plugin"
MODES = ("dry-run", "apply", "verify")


def misplaced(server: Server) -> list[Finding]:
    """Tables of the memory plugin in public, counted, and pgvector in another schema than public."""
    return [
        found
        for found in server.access
        if found.kind == "legacy" or (found.kind == "extension" and found.problem.startswith("is in schema"))
    ]


@operation()
def nothing_misplaced(context: TenantContext) -> Commands:
    """
    No rows of an older installation would be lost from sight, and no schema takes pgvector along when it goes.

    Before the first migration: afterwards the app's search_path leads past public's tables.
    """
    state = context.observe()
    server = Server.of(state) if state is not None else None
    found = misplaced(server) if server is not None else []
    if found:
        facts = [f"{context.tenant.name}: {finding}" for finding in found]
        hint = f"nothing of it was touched; deploy/move.py brings it where it belongs: {PAGE}"
        yield commands.refuse(*map(Problem, facts[:-1]), Problem(facts[-1], hint))


@operation()
def set_aside(context: TenantContext) -> Commands:
    """Public holds pgvector and none of the memory plugin's tables; those wait in a schema of their own."""
    state = context.observe()
    server = Server.of(state) if state is not None else None
    if server is None or not misplaced(server):
        return
    for found in misplaced(server):
        host.noop(f"moving: {found}")
    begun = any(head.component == COMPONENT for head in heads_of(server.ledger))
    yield context.superuser(legacy.aside_script(begun=begun))


@operation()
def brought_over(context: TenantContext, did: dict[str, Any]) -> Any:
    """What waited aside is in memory_plugin. + did: table -> rows, for the receipt"""
    state = context.observe()
    server = Server.of(state) if state is not None else None
    if server is None or all(found.object != f"schema {legacy.ASIDE}" for found in server.access):
        return
    context.invalidate()

    def work(connect: Connect) -> None:
        did.update(legacy.brought_over(connect))
        told = ", ".join(f"{rows} of {table}" for table, rows in did.items())
        host.log(f"{context.tenant.name}: brought over: {told or 'nothing'}")

    yield FunctionCommand(as_migrator, (context, work), {})


@operation()
def backfilled(context: TenantContext, schema: str, mode: str, did: dict[str, Any]) -> Any:
    """agent_memories of that schema are in memory_plugin; see legacy.backfilled."""
    if COMPONENT not in context.tenant.tabled_components:
        fact = f"{context.tenant.name}: it has no component {COMPONENT!r}"
        yield commands.refuse(Problem(fact, "give it that component in the inventory, and deploy"))
        return
    if mode == "apply":
        context.invalidate()

    def work(connect: Connect) -> None:
        did.update(legacy.backfilled(connect, schema, mode))
        told = ", ".join(f"{name} {number}" for name, number in did.items())
        host.log(f"{context.tenant.name}: {mode}: {told}")
        if did["missing"] and mode != "dry-run":
            fact = (
                f"{did['missing']} of {did['rows']} rows of {schema}.agent_memories are not in {COMPONENT} as they are"
            )
            raise Refused.because(fact, "nothing was changed; runbooks/backfill-agent-memories.md")

    yield FunctionCommand(as_migrator, (context, work), {})
