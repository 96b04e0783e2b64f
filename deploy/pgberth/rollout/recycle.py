"""recycle: a tenant's container is made anew on the same volume, ring by ring, and goes back where it is red."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra import host, state
from pyinfra.api import operation

from pgberth import commands
from pgberth.checks import operations as checks_room
from pgberth.commands import Commands
from pgberth.container import operations as container_room
from pgberth.container.context import TenantContext
from pgberth.container.plugin import remade
from pgberth.container.port import in_the_way
from pgberth.container.run_lock import acquire_run_lock
from pgberth.container.spec import ContainerSpec
from pgberth.container.state import TenantState
from pgberth.database.probe import Server
from pgberth.inventory.load import Fleet
from pgberth.migrations.operations import begin
from pgberth.model import layout
from pgberth.model.image import version_of
from pgberth.model.listen import listening
from pgberth.model.problems import Problem
from pgberth.model.tenant import Tenant
from pgberth.rendering.configuration import restart_files
from pgberth.report.receipt import Receipt, current_report
from pgberth.rollout import rings
from pgberth.rollout.recycling import Recycling
from pgberth.rollout.settle import finish_interrupted_recycle
from pgberth.run import current_run


@dataclass
class FirstRed:
    """The first tenant of this run that went red, "" while there is none: no tenant is begun after it."""

    tenant: str = ""


@dataclass(frozen=True)
class RecycleOptions:
    """+ reason: goes into the receipt; pending: only where the spec differs"""

    reason: str
    pending: bool


def recycle_tenant(tenant: Tenant, found: Fleet, options: RecycleOptions, at_once: int, verb: str) -> None:
    """One tenant's part: the canary ring first, then the others once it is green."""
    canaries = [one for one in found.tenants.values() if rings.CANARY in one.rings]
    if not canaries and _NO_CANARY not in current_report().notes:
        current_report().notes.append(_NO_CANARY)
    first = tenant in canaries
    context, receipt = begin(verb, tenant)
    files = restart_files(tenant)
    acquire_run_lock(name="tenant is ours", context=context, verb=verb)
    finish_interrupted_recycle(name="no recycle is half done", context=context, receipt=receipt)
    # Whole tenants, at most so many at once: pyinfra would stop the servers of all before it starts the first again.
    recycled(
        name="canary ring runs the wanted spec",
        context=context,
        receipt=receipt,
        options=options,
        turn=first,
        _parallel=at_once,
    )
    rings.canary_green(
        name="canary ring is green", context=context, files=files, canaries=canaries, concerned=not first
    )
    recycled(
        name="container runs the wanted spec",
        context=context,
        receipt=receipt,
        options=options,
        turn=not first,
        _parallel=at_once,
    )


_NO_CANARY = "this inventory has no ring `canary`: nothing was tried on one tenant before the others"


@operation(is_idempotent=False)
def recycled(context: TenantContext, receipt: Receipt, options: RecycleOptions, turn: bool) -> Commands:
    """
    The tenant runs the inventory's wanted spec in a new container on the same volume, or its former one again.

    + turn: whether it is this tenant's turn

    One operation from the first look to the receipt, so that no tenant waits half-way for the others.
    """
    if not state.is_executing or not turn:
        return
    tenant, files = context.tenant, restart_files(context.tenant)
    first_red = current_run().part(FirstRed)
    if first_red.tenant:
        receipt.state = f"not begun: {first_red.tenant} is red"
        return
    observed = context.observe()
    spec = refused(context, observed, files)
    if observed is None or isinstance(spec, Problem):
        receipt.state = "refused"
        yield commands.refuse(spec if isinstance(spec, Problem) else checks_room.not_answering(context, observed))
        return
    if options.pending and not checks_room.pending(observed, spec):
        receipt.state = "nothing is pending"
        return
    work = Recycling(context, receipt)
    receipt.did |= {"reason": options.reason, "former": observed.spec.get("hash"), "wanted": spec.hash}
    problems = work.refusals()
    if not problems:
        receipt.state = ""
        problems = work.recycle(observed, spec)
    if problems:
        first_red.tenant = first_red.tenant or tenant.name
        yield commands.refuse(*problems, *checks_room.kept_at_once(context, receipt))
        return
    yield from remade(context)
    yield checks_room.keep(context, receipt)


def refused(context: TenantContext, observed: TenantState | None, files: dict[str, str]) -> ContainerSpec | Problem:
    """The wanted container, or why this tenant is not interrupted now. Nothing is touched."""
    tenant = context.tenant
    if observed is None or observed.machine_profile is None:
        return checks_room.not_answering(context, observed)
    spec = container_room.desired_spec(tenant, observed, files)
    if isinstance(spec, Problem):
        return Problem(
            spec.fact, spec.hint if spec.hint.startswith("nothing was") else f"nothing was done; {spec.hint}"
        )
    if problem := container_room.foreign(tenant, observed):
        return problem
    if problem := _not_well(context, observed):
        return problem
    if not observed.spec:
        fact = f"{tenant.name}: ~/{layout.spec_file(tenant.name)} is missing, or is not understood"
        return Problem(fact, f"nothing was done; {container_room.SPEC_LOST.format(tenant.name)}")
    server = Server.of(observed)
    if server is not None and version_of(spec.image.pgvector) < version_of(server.vector):
        fact = f"{tenant.name}: image {tenant.image.tag} carries pgvector {spec.image.pgvector}, "
        hint = (
            "nothing was done; an extension does not go back: give the tenant an image with that version or a newer one"
        )
        return Problem(f"{fact}the database has {server.vector}", hint)
    if tenant.listen is not None and f"etc/{tenant.listen.file}" not in observed.files:
        fact = f"{tenant.name}: it has no certificate yet for {tenant.listen.host}"
        return Problem(fact, f"nothing was done; run deploy/provision.py --limit {tenant.name} first")
    moves = (observed.spec["port"], listening(observed.spec).get("address")) != _place(tenant)
    if moves and (problem := in_the_way(tenant, (), own=observed.spec["port"])):
        return problem
    there, _ = host.run_shell_command(commands.shell('podman image exists "$1"', spec.image.id, timeout=30))
    if not there:
        fact = f"{tenant.name}: image {spec.image.id} is not in podman's store any more"
        return Problem(fact, "nothing was done; run the deploy without --limit; it builds the image anew")
    return spec


def _place(tenant: Tenant) -> tuple[int, str | None]:
    return tenant.port, tenant.listen.address if tenant.listen is not None else None


def _not_well(context: TenantContext, observed: TenantState) -> Problem | None:
    name, server = context.tenant.name, Server.of(observed)
    if observed.container is None or not observed.container.running:
        return checks_room.not_answering(context, observed)
    if not observed.container.reachable:
        fact = f"{name}: its container runs for nobody: its monitor or its port is gone"
        return Problem(fact, f"nothing was done; run deploy/provision.py --limit {name}, which makes it anew")
    if (server is not None and server.in_recovery) or any(word in observed.server_said for word in _STARTING):
        fact = f"{name}: its server is starting or in recovery: {observed.server_said or 'it answers read-only'}"
        return Problem(fact, "nothing was done; wait until deploy/verify.py is green, then recycle")
    return checks_room.not_answering(context, observed) if server is None else None


_STARTING = ("starting up", "in recovery", "recovery mode", "not yet accepting connections", "shutting down")
