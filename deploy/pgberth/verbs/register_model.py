"""register_model: bind a tenant's knowledge store to its embedding model, then build the vector index."""

from __future__ import annotations

from pyinfra.api.exceptions import DeployError

from pgberth.checks import operations as checks_room
from pgberth.container.run_lock import acquire_run_lock
from pgberth.inventory.run_inventory import tenant_here
from pgberth.knowledge import operations as knowledge_room
from pgberth.knowledge.model import model_from
from pgberth.migrations import operations as migrations_room
from pgberth.migrations.operations import begin
from pgberth.model.problems import Refused
from pgberth.rendering.configuration import reload_files
from pgberth.run import current_run
from pgberth.verbs.fleet import fleet


def register_model() -> None:
    """The current host's part. --data model=NAME --data dimension=N --data hash=FINGERPRINT"""
    found = fleet("model", "dimension", "hash")
    try:
        # As typed: pyinfra would read a hash such as 1e5 as a number.
        model = model_from(current_run().data)
    except Refused as refused:
        raise DeployError(str(refused)) from None
    tenant = tenant_here(found)
    if tenant is None:
        return
    context, receipt = begin("register_model", tenant)
    acquire_run_lock(name="tenant is ours", context=context, verb="register_model")
    knowledge_room.model_registered(name="model is registered", context=context, model=model)
    migrations_room.at_targets(name="schemas are at their versions", context=context)
    checks_room.smoke(name="smoke checks pass", context=context, receipt=receipt, files=reload_files(tenant))
    checks_room.receipt_kept(name="receipt is kept", context=context, receipt=receipt)
