"""A tenant gets a new container on the same volume, ring by ring; where that is red, it gets its previous one back."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra import host, state

from pgberth import commands
from pgberth.checks.operations import keep, keep_at_once
from pgberth.checks.pending import pending
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.desired import SPEC_LOST, desired_spec, refuse_foreign_container
from pgberth.container.health_probe import plugin_watched
from pgberth.container.operations import data_is_its_own
from pgberth.container.port import refuse_taken_port
from pgberth.container.run_lock import acquire_run_lock
from pgberth.container.spec import ContainerSpec
from pgberth.inventory.load import Fleet
from pgberth.migrations.tenant_run import begin
from pgberth.model import layout
from pgberth.model.image import version_of
from pgberth.model.problems import Refused
from pgberth.model.tenant import Tenant
from pgberth.report.receipt import current_report
from pgberth.rollout.attempt import RecycleAttempt
from pgberth.rollout.judgement import described
from pgberth.rollout.rings import CANARY, canary_green
from pgberth.rollout.settle import finish_interrupted_recycle
from pgberth.run import current_run

_NO_CANARY = "this inventory has no ring `canary`: nothing was tried on one tenant before the others"
_STARTING = ("starting up", "in recovery", "recovery mode", "not yet accepting connections", "shutting down")


@dataclass
class FirstRed:
    """The first tenant of this run that went red, "" while there is none: no tenant is begun after it."""

    tenant: str = ""


@dataclass(frozen=True)
class RecycleOptions:
    """
    + reason: goes into the receipt
    + pending: only where the spec differs
    + at_once: how many tenants may be without a server at the same time
    """

    reason: str
    pending: bool
    at_once: int


def recycle_tenant(tenant: Tenant, found: Fleet, options: RecycleOptions, verb: str) -> None:
    """One tenant's part: the canary ring first, then the others once it is green."""
    canaries = [one for one in found.tenants.values() if CANARY in one.rings]
    notes = current_report().notes
    if not canaries and _NO_CANARY not in notes:
        notes.append(_NO_CANARY)
    first = tenant in canaries
    context = begin(verb, tenant)
    acquire_run_lock(name="tenant is locked for this run", context=context)
    data_is_its_own(name="data is its own", context=context)
    finish_interrupted_recycle(name="no recycle is half done", context=context)
    # Whole tenants, at most so many at once: pyinfra would stop the servers of all before it starts the first again.
    recycled(
        name="canary ring runs the wanted spec",
        context=context,
        options=options,
        turn=first,
        _parallel=options.at_once,
    )
    canary_green(name="canary ring is green", context=context, canaries=canaries, concerned=not first)
    recycled(
        name="container runs the wanted spec",
        context=context,
        options=options,
        turn=not first,
        _parallel=options.at_once,
    )


@guarded_operation(is_idempotent=False)
def recycled(context: TenantContext, options: RecycleOptions, turn: bool) -> Commands:
    """
    The tenant runs the desired spec in a new container on the same volume, or its previous one again.

    + turn: whether it is this tenant's turn

    One operation from the first observation to the receipt, so that no tenant waits half-way for the others.
    """
    if not state.is_executing or not turn:
        return
    receipt, first_red = context.receipt, current_run().part(FirstRed)
    if first_red.tenant:
        receipt.state = f"not begun: {first_red.tenant} is red"
        return
    receipt.state = "refused"
    spec = recyclable_spec(context)
    receipt.state = ""
    if options.pending and not pending(context.observe(), spec):
        receipt.state = "nothing is pending"
        return
    attempt = RecycleAttempt(context)
    receipt.did |= {"reason": options.reason, "former": context.observe().spec.hash or None, "wanted": spec.hash}
    problems = attempt.refusals()
    if not problems:
        with plugin_watched(context):
            problems = attempt.recycle(spec)
    if problems:
        first_red.tenant = first_red.tenant or context.name
        raise Refused([*problems, *keep_at_once(context)])
    yield keep(context)
    if receipt.failed_checks:
        first_red.tenant = first_red.tenant or context.name
        hint = "it runs the wanted spec, and no other container would change this; runbooks/check-is-red.md"
        raise Refused(described(context.name, receipt.failed_checks, hint))


def recyclable_spec(context: TenantContext) -> ContainerSpec:
    """The desired container. Raises Refused where this tenant must not be interrupted now; nothing is touched then."""
    observed = context.observe()
    if not observed.ready:
        raise Refused([context.not_answering()])
    spec = _desired_spec(context)
    refuse_foreign_container(context)
    _refuse_unwell(context)
    if not observed.spec:
        fact = f"{context.name}: ~/{layout.spec_file(context.name)} is missing, or is not understood"
        raise Refused.because(fact, f"nothing was done; {SPEC_LOST.format(context.name)}")
    _refuse_older_pgvector(context, spec)
    _refuse_missing_certificate(context)
    _refuse_new_place_taken(context)
    exists, _ = host.run_shell_command(commands.shell('podman image exists "$1"', spec.image.id, timeout=30))
    if not exists:
        fact = f"{context.name}: image {spec.image.id} is not in podman's store any more"
        raise Refused.because(fact, "nothing was done; run the deploy without --limit; it builds the image again")
    return spec


def _desired_spec(context: TenantContext) -> ContainerSpec:
    try:
        return desired_spec(context)
    except Refused as refused:
        [problem] = refused.problems
        hint = problem.hint if problem.hint.startswith("nothing was") else f"nothing was done; {problem.hint}"
        raise Refused.because(problem.fact, hint) from None


def _refuse_unwell(context: TenantContext) -> None:
    name, observed = context.name, context.observe()
    container, server = observed.container, observed.server
    if container is None or not container.running:
        raise Refused([context.not_answering()])
    if not container.reachable:
        fault = context.not_answering()
        raise Refused.because(fault.fact, f"nothing was done; {fault.hint}")
    if (server is not None and server.in_recovery) or any(word in observed.server_error for word in _STARTING):
        fact = f"{name}: its server is starting or in recovery: {observed.server_error or 'it answers read-only'}"
        raise Refused.because(fact, "nothing was done; wait until deploy/verify.py is green, then recycle")
    context.require_server()


def _refuse_older_pgvector(context: TenantContext, spec: ContainerSpec) -> None:
    server = context.require_server()
    if version_of(spec.image.pgvector) < version_of(server.vector):
        image = f"{context.name}: image {context.tenant.image.tag} carries pgvector {spec.image.pgvector}"
        hint = "nothing was done; an extension cannot go back: give the tenant an image with that version or newer"
        raise Refused.because(f"{image}, the database has {server.vector}", hint)


def _refuse_missing_certificate(context: TenantContext) -> None:
    listen = context.tenant.listen
    if listen is not None and f"etc/{listen.file}" not in context.observe().files:
        fact = f"{context.name}: it has no certificate yet for {listen.host}"
        raise Refused.because(fact, f"nothing was done; run deploy/provision.py --limit {context.name} first")


def _refuse_new_place_taken(context: TenantContext) -> None:
    tenant, spec = context.tenant, context.observe().spec
    address = tenant.listen.address if tenant.listen is not None else None
    if (spec.port, spec.listening.get("address")) != (tenant.port, address):
        refuse_taken_port(tenant, (), own=spec.port or 0)
