"""Operations: a knowledge store is bound to its embedding model."""

from __future__ import annotations

from typing import Any

from pyinfra import host

from pgberth.commands import guarded_operation
from pgberth.container.context import TenantContext
from pgberth.knowledge.model import COMPONENT, STEP, EmbeddingModel, register
from pgberth.migrations.operations import as_migrator
from pgberth.migrations.session import Connect
from pgberth.model.server import Server


@guarded_operation()
def model_registered(context: TenantContext, model: EmbeddingModel) -> Any:
    """The store's column has the model's dimension, its registry row exists, and the ledger records the step."""
    if COMPONENT not in context.tenant.components:
        host.noop(f"{context.name} has no {COMPONENT}")
        return
    if _recorded(context.require_server()) == model.parameters():
        return
    context.invalidate()

    def work(connect: Connect) -> None:
        register(connect, model)

    yield as_migrator(context, work)


def _recorded(server: Server) -> Any:
    for row in server.ledger:
        if (row["component"], row["version"], row["state"]) == (COMPONENT, STEP, "applied"):
            return row["parameters"]
    return None
