"""Verbs: a knowledge store is bound to its embedding model."""

from __future__ import annotations

from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from pgberth import commands
from pgberth.container.context import TenantContext
from pgberth.database.probe import Server
from pgberth.knowledge.model import COMPONENT, STEP, EmbeddingModel, register
from pgberth.migrations.operations import as_migrator
from pgberth.migrations.session import Connect
from pgberth.model.problems import Problem


@operation()
def model_registered(context: TenantContext, model: EmbeddingModel) -> Any:
    """The store's column has the model's dimension, its registry row is there, and the ledger records the step."""
    state = context.observe()
    tenant = context.tenant
    if COMPONENT not in tenant.components:
        host.noop(f"{tenant.name} has no {COMPONENT}")
        return
    server = Server.of(state) if state is not None else None
    if server is None:
        said = state.server_said if state is not None else "its machine could not be asked"
        yield commands.refuse(Problem(f"{tenant.name}: the server does not answer: {said}", "run deploy/provision.py"))
        return
    if _recorded(server) == model.parameters():
        return
    context.invalidate()

    def work(connect: Connect) -> None:
        register(connect, model)

    yield FunctionCommand(as_migrator, (context, work), {})


def _recorded(server: Server) -> Any:
    for row in server.ledger:
        if (row["component"], row["version"], row["state"]) == (COMPONENT, STEP, "applied"):
            return row["parameters"]
    return None
