"""register_model: bind a tenant's knowledge store to its embedding model, then build the vector index."""

from __future__ import annotations

from pyinfra.api.exceptions import DeployError

from pgberth.checks.operations import receipt_kept, smoke
from pgberth.container.operations import data_is_its_own
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database.operations import access_current, configuration_current
from pgberth.inventory.run_inventory import tenant_here
from pgberth.knowledge.model import model_from
from pgberth.knowledge.operations import model_registered
from pgberth.migrations.operations import at_targets
from pgberth.migrations.tenant_run import begin
from pgberth.model.problems import Refused
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
    context = begin("register_model", tenant)
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    configuration_current(name="configuration is current", context=context)
    access_current(name="roles and rights are current", context=context)
    model_registered(name="model is registered", context=context, model=model)
    at_targets(name="schemas are at their versions", context=context)
    smoke(name="smoke checks pass", context=context)
    receipt_kept(name="receipt is kept", context=context)
