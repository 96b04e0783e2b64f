"""Tenant work, in order: each operation's name is the state it reaches."""

from __future__ import annotations

from collections.abc import Mapping

from pyinfra import host, state
from pyinfra.api import operation

from pgberth import commands
from pgberth.checks import operations as checks_room
from pgberth.checks.baseline import baseline_known
from pgberth.checks.receipt import RECEIPTS, Receipt
from pgberth.commands import Commands
from pgberth.container import operations as container_room
from pgberth.container.facts import Berth
from pgberth.container.lock import ours
from pgberth.container.plugin import plugin_answers, plugin_running
from pgberth.container.port import port_free
from pgberth.container.spec import ContainerSpec
from pgberth.database import operations as database_room
from pgberth.database.configuration import reload_files, restart_files
from pgberth.database.probe import Server
from pgberth.database.tls import certificate_current
from pgberth.knowledge.model import STEP, repeat
from pgberth.migrations import moving
from pgberth.migrations import operations as migrations_room
from pgberth.migrations.fresh import Action
from pgberth.migrations.operations import plan, tenant_probe
from pgberth.model.load import Fleet
from pgberth.model.problems import Refused
from pgberth.model.tenant import Tenant
from pgberth.sources import Given
from pgberth.verbs.inventory import certificates_given, passwords_given
from pgberth.verbs.recycling import Recycling

# What the steps of code do, for whoever runs them again: by name, with the parameters the ledger recorded.
ACTIONS: Mapping[str, Action] = {STEP: repeat}


def begin(verb: str, tenant: Tenant, given: Given | None = None) -> tuple[Berth, Receipt]:
    """The tenant for the length of a run, and the record of it. + given: passwords that come from elsewhere"""
    receipt = RECEIPTS.setdefault(tenant.name, Receipt(verb, tenant.name, tenant.rings, tenant.port))
    return Berth(tenant, tenant_probe(tenant), given), receipt


def provision(verb: str, tenant: Tenant, found: Fleet, *, smoke: bool) -> None:
    """Bring one tenant to the inventory's state, and prove that it works."""
    berth, receipt = begin(verb, tenant, passwords_given(found).get(tenant.name))
    restart, reload = restart_files(tenant), reload_files(tenant)
    ports = frozenset(other.port for other in found.tenants_on(tenant.machine.name))
    ours(name="tenant is ours", berth=berth, verb=verb)
    port_free(name="port is free", berth=berth, asked=ports)
    container_room.secrets_exist(name="passwords exist", berth=berth)
    settled(name="no recycle is half done", berth=berth, receipt=receipt)
    container_room.volume_initialised(name="volume is initialised", berth=berth)
    if tenant.listen is not None:
        certificate_current(
            name="certificate is current", berth=berth, given=certificates_given(found).get(tenant.name)
        )
    database_room.configuration_current(name="configuration is ours", berth=berth, files=reload, restart=restart)
    container_room.container_running(name="container runs", berth=berth, files=restart)
    database_room.access_current(name="roles and rights are as wanted", berth=berth)
    moving.nothing_misplaced(name="nothing lies in a wrong schema", berth=berth)
    migrations_room.at_targets(name="schemas are at their versions", berth=berth)
    database_room.connection_files_published(name="connection files are published", berth=berth)
    plugin_running(name="memory plugin runs", berth=berth, record=receipt)
    noted(name="what is pending is known", berth=berth, receipt=receipt, files=restart)
    if smoke:
        checks_room.smoke(name="smoke checks pass", berth=berth, receipt=receipt, files=reload)
    checks_room.receipt_kept(name="receipt is kept", berth=berth, receipt=receipt)


def verify(verb: str, tenant: Tenant) -> None:
    """The smoke suite alone."""
    berth, receipt = begin(verb, tenant)
    noted(name="what is pending is known", berth=berth, receipt=receipt, files=restart_files(tenant))
    baseline_known(name="a fresh run's catalogue is known", berth=berth, actions=ACTIONS, receipt=receipt)
    plugin_answers(name="memory plugin answers", berth=berth, record=receipt)
    checks_room.smoke(name="smoke checks pass", berth=berth, receipt=receipt, files=reload_files(tenant), drift=True)


def waiting(tenant: Tenant, server: Server) -> list[str]:
    """Versions that wait for something an operator has to say; no error where the tenant does not ask for it."""
    try:
        plans = [plan(tenant, component, server) for component in tenant.ordered_components]
    except Refused:
        return []  # the ledger's check says it
    # What only waits for another version is not the operator's to answer.
    lefts = [left for ready in plans for left in ready.waiting]
    return [str(left) for left in lefts if not all(name.isdigit() for name in left.missing)]


@operation()
def settled(berth: Berth, receipt: Receipt) -> Commands:
    """No recycle that was killed is half done: what it began is proven, or the former container is back."""
    seen = berth.look() if state.is_executing else None
    if seen is None or seen.ready is None or container_room.foreign(berth.tenant, seen):
        return
    work = Recycling(berth, receipt)
    if "recycling.json" in seen.files:
        problems = work.settle(seen)
    elif not work.cleared():
        return
    else:
        problems = []
    receipt.results = None
    if problems:
        yield commands.refuse(*problems)
        return
    yield commands.shell(":", timeout=5)  # what was done counts as a change


@operation()
def noted(berth: Berth, receipt: Receipt, files: dict[str, str]) -> Commands:
    """What the run saw is written into its receipt; never a change."""
    yield from ()
    seen = berth.look() if state.is_executing else None
    if seen is None:
        return
    wanted = container_room.wanted_spec(berth.tenant, seen, files)
    if isinstance(wanted, ContainerSpec):
        receipt.pending = checks_room.pending(seen, wanted)
    server = Server.of(seen)
    if server is not None:
        checks_room.tell(receipt, seen, server)
        receipt.notes += waiting(berth.tenant, server)
    receipt.notes += [
        f"password of {kind}: its source gives another one now; deploy/rotate.py takes it up"
        for kind, password in berth.given.items()
        if password != berth.secret(kind)
    ]
    host.noop(receipt.pending or "nothing is pending")
