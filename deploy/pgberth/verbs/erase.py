"""erase: one subject's rows leave the append-only tables, with a tombstone and a receipt."""

from __future__ import annotations

from pyinfra.api.exceptions import DeployError

from pgberth.checks import operations as checks_room
from pgberth.container.run_lock import ours
from pgberth.inventory.run_inventory import tenant_here
from pgberth.migrations import changes
from pgberth.migrations.erase import erasure_from
from pgberth.migrations.operations import begin
from pgberth.model.problems import Problem, Refused
from pgberth.rendering.configuration import reload_files
from pgberth.run import current_run
from pgberth.verbs.fleet import fleet


def erase() -> None:
    """The current host's part. --data subject=KIND:UUID --data reason=TEXT --data tenant=NAME"""
    found, typed = fleet("subject", "reason", "tenant"), current_run().data
    problems: list[Problem] = []
    if typed.get("tenant") not in found.tenants:
        hint = f"type the name of the tenant that loses rows: one of {', '.join(found.tenants)}"
        problems.append(Problem(f"--data tenant={typed.get('tenant', '')!r} is no tenant of this inventory", hint))
    try:
        wanted = erasure_from(typed)
    except Refused as refused:
        raise DeployError(str(Refused([*problems, *refused.problems]))) from None
    if problems:
        raise DeployError(str(Refused(problems)))
    tenant = tenant_here(found)
    if tenant is None or tenant.name != typed["tenant"]:
        return
    berth, receipt = begin("erase", tenant)
    ours(name="tenant is ours", berth=berth, verb="erase")
    changes.erased(name="subject is erased", berth=berth, wanted=wanted)
    checks_room.smoke(name="smoke checks pass", berth=berth, receipt=receipt, files=reload_files(tenant))
    checks_room.receipt_kept(name="receipt is kept", berth=berth, receipt=receipt)
