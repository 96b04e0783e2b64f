"""stage: the gates a change passes before `production`: a throwaway tenant, the canary ring, a real task on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pyinfra import state

from pgberth import commands
from pgberth.checks.operations import receipt_kept, smoke
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.operations import container_running, data_is_its_own, secrets_exist, volume_initialised
from pgberth.container.retire import discarded
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database.operations import access_current, configuration_current, connection_files_published
from pgberth.inventory.load import Fleet, next_free
from pgberth.migrations.moving import brought_over, misplaced, set_aside
from pgberth.migrations.operations import at_targets
from pgberth.migrations.tenant_run import begin
from pgberth.model.names import THROWAWAY
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import HEAD, MEMORY_PLUGIN, Tenant
from pgberth.rollout.recycle import RecycleOptions, recycle_tenant
from pgberth.rollout.task import task

_AS_SUPERUSER = "\\connect memory\nSET search_path = pg_catalog, public;\n"
# Variant -> what an older installation did before a throwaway tenant's schemas are made.
VARIANTS: Mapping[str, Callable[[], str]] = {
    "fresh": lambda: "",
    "in-public": lambda: "DROP EXTENSION vector; CREATE EXTENSION vector SCHEMA public;\n",
    "in-schema": lambda: f"CREATE SCHEMA {MEMORY_PLUGIN}; ALTER EXTENSION vector SET SCHEMA {MEMORY_PLUGIN};\n",
    "old-rows": lambda: commands.script("rollout/old-rows.sql"),
}
_STOPS_A_DEPLOY = ("in-schema", "old-rows")


def throwaways(canary: Tenant, found: Fleet) -> dict[str, Tenant]:
    """Variant -> a temporary tenant beside the canary, from the same image."""
    taken = {tenant.port for tenant in found.tenants_on(canary.machine.name)}
    tenants = {}
    for variant in VARIANTS:
        port = next_free(canary.port + 1, taken)
        taken.add(port)
        components = {**canary.components, MEMORY_PLUGIN: HEAD}
        tenants[variant] = replace(
            canary, name=f"{THROWAWAY}{variant}", port=port, rings=(), components=components, secrets={}, listen=None
        )
    return tenants


def stage_throwaway(canary: Tenant, found: Fleet) -> None:
    """Stage A: throwaway tenants, fresh and with each thing that an older installation may have left."""
    context = begin("stage", canary)
    context.receipt.did["stage"] = "A"
    acquire_run_lock(name="tenant is locked for this run", context=context)
    for variant, tenant in throwaways(canary, found).items():
        _try_variant(variant, tenant)
    passed(name="throwaway tenants passed", context=context)
    receipt_kept(name="receipt is kept", context=context)


def _try_variant(variant: str, tenant: Tenant) -> None:
    context = begin("stage", tenant)
    discarded(name=f"{variant}: nothing is left of an earlier try", context=context)
    secrets_exist(name=f"{variant}: passwords exist", context=context)
    volume_initialised(name=f"{variant}: volume is initialised", context=context)
    configuration_current(name=f"{variant}: configuration is current", context=context)
    container_running(name=f"{variant}: container runs", context=context)
    access_current(name=f"{variant}: roles and rights are current", context=context)
    planted(name=f"{variant}: what an older installation left is there", context=context, variant=variant)
    set_aside(name=f"{variant}: public holds pgvector alone", context=context)
    at_targets(name=f"{variant}: schemas are at their versions", context=context)
    brought_over(name=f"{variant}: rows are brought over", context=context)
    connection_files_published(name=f"{variant}: connection files are published", context=context)
    smoke(name=f"{variant}: smoke checks pass", context=context)
    task_done(name=f"{variant}: a task is done", context=context)
    discarded(name=f"{variant}: throwaway tenant is gone", context=context)


@guarded_operation(is_idempotent=False)
def planted(context: TenantContext, variant: str) -> Commands:
    """What an older installation left is there, and stops a deploy where it should."""
    script = VARIANTS[variant]()
    if not state.is_executing or not script:
        return
    yield context.superuser(_AS_SUPERUSER + script)
    found = [str(finding) for finding in misplaced(context.observe().server)]
    if bool(found) != (variant in _STOPS_A_DEPLOY):
        fact = f"{context.name}: a deploy would stop at {found or 'nothing'}"
        raise Refused.because(fact, "the preflight does not find what was planted: a fault of this release")


@guarded_operation(is_idempotent=False)
def task_done(context: TenantContext) -> Commands:
    """A client commits a memory, the row is where it should be, search finds it, public has none."""
    yield from ()
    if problems := list(task(context)) if state.is_executing else []:
        raise Refused(Problem(f"{context.name}: {problem}", "runbooks/check-is-red.md") for problem in problems)


@guarded_operation()
def passed(context: TenantContext) -> Commands:
    """The receipt says that the stage is passed."""
    yield from ()
    if state.is_executing:
        context.receipt.did["passed"] = True
        context.receipt.state = f"stage {context.receipt.did['stage']} passed"
        context.invalidate()  # so that the receipt is kept


def stage_canary(canary: Tenant, found: Fleet) -> None:
    """Stage B: the canary ring, recycled whether anything differs or not."""
    recycle_tenant(canary, found, RecycleOptions("stage B", pending=False, at_once=1), "stage")


def stage_task(canary: Tenant, found: Fleet) -> None:  # noqa: ARG001
    """Stage C: a real task on the canary."""
    context = begin("stage", canary)
    context.receipt.did["stage"] = "C"
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    task_done(name="a task is done", context=context)
    smoke(name="smoke checks pass", context=context)
    passed(name="stage is passed", context=context)
    receipt_kept(name="receipt is kept", context=context)


STAGES: Mapping[str, Callable[[Tenant, Fleet], None]] = {"A": stage_throwaway, "B": stage_canary, "C": stage_task}
