"""stage: the gates a change passes before `production`: a throwaway tenant, the canary ring, a real task on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pyinfra import state
from pyinfra.api import operation

from pgberth import commands
from pgberth.checks import operations as checks_room
from pgberth.commands import Commands
from pgberth.container import operations as container_room
from pgberth.container.context import TenantContext
from pgberth.container.retire import discarded
from pgberth.container.run_lock import acquire_run_lock
from pgberth.database import operations as database_room
from pgberth.database.probe import Server
from pgberth.inventory.load import Fleet, next_free
from pgberth.migrations import moving
from pgberth.migrations import operations as migrations_room
from pgberth.migrations.operations import begin
from pgberth.model.names import THROWAWAY
from pgberth.model.problems import Problem
from pgberth.model.tenant import HEAD, Tenant
from pgberth.rendering.configuration import reload_files, restart_files
from pgberth.report.receipt import Receipt
from pgberth.rollout import recycle
from pgberth.rollout.task import COMPONENT, task

_AS_SUPERUSER = "\\connect memory\nSET search_path = pg_catalog, public;\n"
# What a throwaway tenant finds when its schemas are made: variant -> what an older installation did.
VARIANTS: Mapping[str, str] = {
    "fresh": "",
    "in-public": "DROP EXTENSION vector; CREATE EXTENSION vector SCHEMA public;\n",
    "in-schema": f"CREATE SCHEMA {COMPONENT}; ALTER EXTENSION vector SET SCHEMA {COMPONENT};\n",
    "old-rows": """CREATE TABLE public.memory_namespaces (name text PRIMARY KEY, kind text NOT NULL);
CREATE TABLE public.memory_records (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  namespace text NOT NULL REFERENCES public.memory_namespaces (name), content text NOT NULL, kind text NOT NULL,
  source text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO public.memory_namespaces VALUES ('team:old', 'team');
INSERT INTO public.memory_records (namespace, content, kind, source)
  SELECT 'team:old', 'memory ' || n, 'fact', 'agent' FROM generate_series(1, 7) AS n;
""",
}


def throwaways(canary: Tenant, found: Fleet) -> dict[str, Tenant]:
    """Variant -> a tenant that comes and goes beside the canary, from the same image."""
    taken = {tenant.port for tenant in found.tenants_on(canary.machine.name)}
    made = {}
    for variant in VARIANTS:
        port = next_free(canary.port + 1, taken)
        taken.add(port)
        components = {**canary.components, COMPONENT: HEAD}
        made[variant] = replace(
            canary, name=f"{THROWAWAY}{variant}", port=port, rings=(), components=components, secrets={}, listen=None
        )
    return made


def stage_throwaway(canary: Tenant, found: Fleet) -> None:
    """Fresh, with pgvector there already, with it in the wrong schema, and with rows of an older installation."""
    context, receipt = begin("stage", canary)
    receipt.did["stage"] = "A"
    acquire_run_lock(name="tenant is ours", context=context, verb="stage")
    for variant, tenant in throwaways(canary, found).items():
        _tried(variant, tenant)
    passed(name="throwaway tenants passed", context=context, receipt=receipt)
    checks_room.receipt_kept(name="receipt is kept", context=context, receipt=receipt)


def _tried(variant: str, tenant: Tenant) -> None:
    context, receipt = begin("stage", tenant)
    restart, reload = restart_files(tenant), reload_files(tenant)

    def named(what: str) -> str:
        return f"{variant}: {what}"

    discarded(name=named("nothing is left of another try"), context=context)
    container_room.secrets_exist(name=named("passwords exist"), context=context)
    container_room.volume_initialised(name=named("volume is initialised"), context=context)
    database_room.configuration_current(
        name=named("configuration is ours"), context=context, files=reload, restart=restart
    )
    container_room.container_running(name=named("container runs"), context=context, files=restart)
    database_room.access_current(name=named("roles and rights are as wanted"), context=context)
    planted(name=named("what an older installation left is there"), context=context, variant=variant)
    moving.set_aside(name=named("public holds pgvector alone"), context=context)
    migrations_room.at_targets(name=named("schemas are at their versions"), context=context)
    moving.brought_over(name=named("rows are brought over"), context=context, did=receipt.did)
    database_room.connection_files_published(name=named("connection files are published"), context=context)
    checks_room.smoke(name=named("smoke checks pass"), context=context, receipt=receipt, files=reload)
    task_done(name=named("a task is done"), context=context)
    discarded(name=named("throwaway tenant is gone"), context=context)


@operation(is_idempotent=False)
def planted(context: TenantContext, variant: str) -> Commands:
    """What an older installation left is there, and stops a deploy where it should."""
    if not state.is_executing or not VARIANTS[variant]:
        return
    yield context.superuser(_AS_SUPERUSER + VARIANTS[variant])
    observed = context.observe()
    server = Server.of(observed) if observed is not None else None
    found = [str(finding) for finding in moving.misplaced(server)] if server is not None else []
    if bool(found) != (variant in ("in-schema", "old-rows")):
        fact = f"{context.tenant.name}: a deploy would stop at {found or 'nothing'}"
        yield commands.refuse(Problem(fact, "the preflight does not see what was planted: a fault of this release"))


@operation(is_idempotent=False)
def task_done(context: TenantContext) -> Commands:
    """A client commits a memory, the row is where it should be, search finds it, public has none."""
    problems = list(task(context)) if state.is_executing else []
    if problems:
        facts = [Problem(f"{context.tenant.name}: {problem}", "runbooks/check-is-red.md") for problem in problems]
        yield commands.refuse(*facts)


@operation()
def passed(context: TenantContext, receipt: Receipt) -> Commands:
    """The stage is passed, which is for the receipt to say."""
    yield from ()
    if state.is_executing:
        receipt.did["passed"] = True
        receipt.state = f"stage {receipt.did['stage']} passed"
        context.invalidate()  # so that the receipt is kept


def stage_canary(canary: Tenant, found: Fleet) -> None:
    """The canary ring, recycled whether anything differs or not."""
    recycle.recycle_tenant(canary, found, recycle.RecycleOptions("stage B", pending=False), at_once=1, verb="stage")


def stage_task(canary: Tenant, found: Fleet) -> None:  # noqa: ARG001
    """A real task on the canary."""
    context, receipt = begin("stage", canary)
    receipt.did["stage"] = "C"
    acquire_run_lock(name="tenant is ours", context=context, verb="stage")
    task_done(name="a task is done", context=context)
    checks_room.smoke(name="smoke checks pass", context=context, receipt=receipt, files=reload_files(canary))
    passed(name="stage is passed", context=context, receipt=receipt)
    checks_room.receipt_kept(name="receipt is kept", context=context, receipt=receipt)


STAGES: Mapping[str, Callable[[Tenant, Fleet], None]] = {"A": stage_throwaway, "B": stage_canary, "C": stage_task}
