"""retire: a tenant leaves, its data stays."""

from __future__ import annotations

from pyinfra.api.exceptions import DeployError

from pgberth.checks.operations import receipt_kept
from pgberth.container.operations import data_is_its_own
from pgberth.container.retire import retired
from pgberth.container.run_lock import acquire_run_lock
from pgberth.migrations.tenant_run import begin
from pgberth.model.problems import Refused
from pgberth.verbs.fleet import fleet, typed_tenant, typed_tenant_problems


def retire() -> None:
    """The current host's part. --data tenant=NAME, typed in full"""
    found = fleet("tenant")
    if problems := typed_tenant_problems(found):
        raise DeployError(str(Refused(problems)))
    tenant = typed_tenant(found, "retire")
    if tenant is None:
        return
    context = begin("retire", tenant)
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    retired(name="tenant is retired", context=context)
    context.receipt.state = "retired, data kept"
    receipt_kept(name="receipt is kept", context=context)
