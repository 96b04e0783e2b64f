"""recycle: a tenant's container is made anew on the same volume, ring by ring, and goes back where it is red."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra import host, state
from pyinfra.api import operation

from pgberth import commands
from pgberth.checks import operations as checks_room
from pgberth.commands import Commands
from pgberth.container import operations as container_room
from pgberth.container.facts import Berth
from pgberth.container.plugin import remade
from pgberth.container.port import in_the_way
from pgberth.container.run_lock import ours
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
from pgberth.rollout.settle import settled
from pgberth.run import current_run


@dataclass
class FirstRed:
    """The first tenant of this run that went red, "" while there is none: no tenant is begun after it."""

    tenant: str = ""


@dataclass(frozen=True)
class Wish:
    """+ reason: goes into the receipt; pending: only where the spec differs"""

    reason: str
    pending: bool


def of(tenant: Tenant, found: Fleet, wish: Wish, at_once: int, verb: str) -> None:
    """One tenant's part: the canary ring first, then the others once it is green."""
    canaries = [one for one in found.tenants.values() if rings.CANARY in one.rings]
    if not canaries and _NO_CANARY not in current_report().notes:
        current_report().notes.append(_NO_CANARY)
    first = tenant in canaries
    berth, receipt = begin(verb, tenant)
    files = restart_files(tenant)
    ours(name="tenant is ours", berth=berth, verb=verb)
    settled(name="no recycle is half done", berth=berth, receipt=receipt)
    # Whole tenants, at most so many at once: pyinfra would stop the servers of all before it starts the first again.
    recycled(
        name="canary ring runs the wanted spec", berth=berth, receipt=receipt, wish=wish, turn=first, _parallel=at_once
    )
    rings.canary_green(name="canary ring is green", berth=berth, files=files, canaries=canaries, concerned=not first)
    recycled(
        name="container runs the wanted spec",
        berth=berth,
        receipt=receipt,
        wish=wish,
        turn=not first,
        _parallel=at_once,
    )


_NO_CANARY = "this inventory has no ring `canary`: nothing was tried on one tenant before the others"


@operation(is_idempotent=False)
def recycled(berth: Berth, receipt: Receipt, wish: Wish, turn: bool) -> Commands:
    """
    The tenant runs the inventory's wanted spec in a new container on the same volume, or its former one again.

    + turn: whether it is this tenant's turn

    One operation from the first look to the receipt, so that no tenant waits half-way for the others.
    """
    if not state.is_executing or not turn:
        return
    tenant, files = berth.tenant, restart_files(berth.tenant)
    first_red = current_run().part(FirstRed)
    if first_red.tenant:
        receipt.state = f"not begun: {first_red.tenant} is red"
        return
    seen = berth.look()
    spec = refused(berth, seen, files)
    if seen is None or isinstance(spec, Problem):
        receipt.state = "refused"
        yield commands.refuse(spec if isinstance(spec, Problem) else checks_room.not_answering(berth, seen))
        return
    if wish.pending and not checks_room.pending(seen, spec):
        receipt.state = "nothing is pending"
        return
    work = Recycling(berth, receipt)
    receipt.did |= {"reason": wish.reason, "former": seen.spec.get("hash"), "wanted": spec.hash}
    problems = work.refusals()
    if not problems:
        receipt.state = ""
        problems = work.recycle(seen, spec)
    if problems:
        first_red.tenant = first_red.tenant or tenant.name
        yield commands.refuse(*problems, *checks_room.kept_at_once(berth, receipt))
        return
    yield from remade(berth)
    yield checks_room.keep(berth, receipt)


def refused(berth: Berth, seen: TenantState | None, files: dict[str, str]) -> ContainerSpec | Problem:
    """The wanted container, or why this tenant is not interrupted now. Nothing is touched."""
    tenant = berth.tenant
    if seen is None or seen.ready is None:
        return checks_room.not_answering(berth, seen)
    spec = container_room.wanted_spec(tenant, seen, files)
    if isinstance(spec, Problem):
        return Problem(
            spec.fact, spec.hint if spec.hint.startswith("nothing was") else f"nothing was done; {spec.hint}"
        )
    if problem := container_room.foreign(tenant, seen):
        return problem
    if problem := _not_well(berth, seen):
        return problem
    if not seen.spec:
        fact = f"{tenant.name}: ~/{layout.spec_file(tenant.name)} is missing, or is not understood"
        return Problem(fact, f"nothing was done; {container_room.SPEC_LOST.format(tenant.name)}")
    server = Server.of(seen)
    if server is not None and version_of(spec.image.pgvector) < version_of(server.vector):
        fact = f"{tenant.name}: image {tenant.image.tag} carries pgvector {spec.image.pgvector}, "
        hint = (
            "nothing was done; an extension does not go back: give the tenant an image with that version or a newer one"
        )
        return Problem(f"{fact}the database has {server.vector}", hint)
    if tenant.listen is not None and f"etc/{tenant.listen.file}" not in seen.files:
        fact = f"{tenant.name}: it has no certificate yet for {tenant.listen.host}"
        return Problem(fact, f"nothing was done; run deploy/provision.py --limit {tenant.name} first")
    moves = (seen.spec["port"], listening(seen.spec).get("address")) != _place(tenant)
    if moves and (problem := in_the_way(tenant, (), own=seen.spec["port"])):
        return problem
    there, _ = host.run_shell_command(commands.shell('podman image exists "$1"', spec.image.id, timeout=30))
    if not there:
        fact = f"{tenant.name}: image {spec.image.id} is not in podman's store any more"
        return Problem(fact, "nothing was done; run the deploy without --limit; it builds the image anew")
    return spec


def _place(tenant: Tenant) -> tuple[int, str | None]:
    return tenant.port, tenant.listen.address if tenant.listen is not None else None


def _not_well(berth: Berth, seen: TenantState) -> Problem | None:
    name, server = berth.tenant.name, Server.of(seen)
    if seen.container is None or not seen.container.running:
        return checks_room.not_answering(berth, seen)
    if not seen.container.attended:
        fact = f"{name}: its container runs for nobody: its monitor or its port is gone"
        return Problem(fact, f"nothing was done; run deploy/provision.py --limit {name}, which makes it anew")
    if (server is not None and server.in_recovery) or any(word in seen.server_said for word in _STARTING):
        fact = f"{name}: its server is starting or in recovery: {seen.server_said or 'it answers read-only'}"
        return Problem(fact, "nothing was done; wait until deploy/verify.py is green, then recycle")
    return checks_room.not_answering(berth, seen) if server is None else None


_STARTING = ("starting up", "in recovery", "recovery mode", "not yet accepting connections", "shutting down")
