"""stage: the gates a change passes before `production`."""

from __future__ import annotations

from pyinfra.api.exceptions import DeployError

from pgberth.inventory.run_inventory import one_concerned, tenant_here
from pgberth.model.problems import Problem, Refused
from pgberth.rollout.rings import CANARY
from pgberth.rollout.stage import STAGES
from pgberth.run import current_run
from pgberth.verbs.fleet import fleet


def stage() -> None:
    """The current host's part. --data stage=A|B|C"""
    found, letter = fleet("stage"), current_run().data.get("stage", "")
    canaries = [tenant for tenant in found.tenants.values() if CANARY in tenant.rings]
    problems = []
    if letter not in STAGES:
        fact = f"--data stage={letter!r} is not one of {', '.join(STAGES)}"
        problems.append(Problem(fact, "A tries throwaway tenants, B recycles the canary ring, C does a task on it"))
    if not canaries:
        problems.append(Problem("this inventory has no ring `canary`", "stages are for the tenants of that ring"))
    if problems:
        raise DeployError(str(Refused(problems)))
    one_concerned("stage", [canary.name for canary in canaries])
    tenant = tenant_here(found)
    if tenant in canaries and tenant is not None:
        STAGES[letter](tenant, found)
