"""erase: one subject's rows leave the append-only tables, with a tombstone and a receipt."""

from __future__ import annotations

from pyinfra.api.exceptions import DeployError

from pgberth.checks.operations import receipt_kept, smoke
from pgberth.container.operations import data_is_its_own
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database.operations import access_current, configuration_current
from pgberth.migrations.changes import erased
from pgberth.migrations.erase import erasure_from
from pgberth.migrations.operations import schemas_repaired
from pgberth.migrations.tenant_run import begin
from pgberth.model.problems import Refused
from pgberth.run import current_run
from pgberth.verbs.fleet import fleet, typed_tenant, typed_tenant_problems


def erase() -> None:
    """The current host's part. --data subject=KIND:UUID --data reason=TEXT --data tenant=NAME"""
    found, typed = fleet("subject", "reason", "tenant"), current_run().data
    problems = typed_tenant_problems(found)
    try:
        erasure = erasure_from(typed)
    except Refused as refused:
        raise DeployError(str(Refused([*problems, *refused.problems]))) from None
    if problems:
        raise DeployError(str(Refused(problems)))
    tenant = typed_tenant(found, "erase")
    if tenant is None:
        return
    context = begin("erase", tenant)
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    configuration_current(name="configuration is current", context=context)
    access_current(name="roles and rights are current", context=context)
    erased(name="subject is erased", context=context, erasure=erasure)
    schemas_repaired(name="rights, functions and triggers are current", context=context)
    smoke(name="smoke checks pass", context=context)
    receipt_kept(name="receipt is kept", context=context)
