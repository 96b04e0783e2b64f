"""backfill: the legacy table agent_memories, copied into memory_plugin and compared row by row."""

from __future__ import annotations

from pyinfra.api.exceptions import DeployError

from pgberth.checks.operations import receipt_kept
from pgberth.container.operations import data_is_its_own
from pgberth.container.run_lock import acquire_run_lock
from pgberth.migrations.moving import MODES, backfilled
from pgberth.migrations.tenant_run import begin
from pgberth.model.problems import Problem, Refused
from pgberth.run import current_run
from pgberth.verbs.fleet import fleet, typed_tenant, typed_tenant_problems


def backfill() -> None:
    """The current host's part. --data tenant=NAME --data mode=dry-run|apply|verify [--data schema=public]"""
    found, typed = fleet("tenant", "mode", "schema"), current_run().data
    mode, schema = typed.get("mode", ""), typed.get("schema", "public")
    problems = typed_tenant_problems(found)
    if mode not in MODES:
        fact = f"--data mode={mode!r} is not one of {', '.join(MODES)}"
        problems.append(Problem(fact, "begin with mode=dry-run, which changes nothing"))
    if problems:
        raise DeployError(str(Refused(problems)))
    tenant = typed_tenant(found, "backfill")
    if tenant is None:
        return
    context = begin("backfill", tenant)
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    backfilled(name="legacy memories are backfilled", context=context, schema=schema, mode=mode)
    receipt_kept(name="receipt is kept", context=context)
