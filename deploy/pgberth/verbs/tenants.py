"""Tenant work, in order: each operation's name is the state it reaches."""

from __future__ import annotations

from pgberth.checks import operations as checks_room
from pgberth.container import operations as container_room
from pgberth.container.plugin import plugin_answers, plugin_running
from pgberth.container.port import port_free
from pgberth.container.run_lock import ours
from pgberth.database import operations as database_room
from pgberth.database.tls import certificate_current
from pgberth.inventory.load import Fleet
from pgberth.knowledge.model import CODE_STEPS
from pgberth.migrations import moving
from pgberth.migrations import operations as migrations_room
from pgberth.migrations.baseline import baseline_known
from pgberth.migrations.operations import begin
from pgberth.model.tenant import Tenant
from pgberth.rendering.configuration import reload_files, restart_files
from pgberth.rollout.settle import settled
from pgberth.verbs.fleet import external_certificates, external_passwords


def provision(verb: str, tenant: Tenant, found: Fleet, *, smoke: bool) -> None:
    """Bring one tenant to the inventory's state, and prove that it works."""
    berth, receipt = begin(verb, tenant, external_passwords().get(tenant.name))
    restart, reload = restart_files(tenant), reload_files(tenant)
    ports = frozenset(other.port for other in found.tenants_on(tenant.machine.name))
    ours(name="tenant is ours", berth=berth, verb=verb)
    port_free(name="port is free", berth=berth, asked=ports)
    container_room.secrets_exist(name="passwords exist", berth=berth)
    settled(name="no recycle is half done", berth=berth, receipt=receipt)
    container_room.volume_initialised(name="volume is initialised", berth=berth)
    if tenant.listen is not None:
        certificate_current(name="certificate is current", berth=berth, given=external_certificates().get(tenant.name))
    database_room.configuration_current(name="configuration is ours", berth=berth, files=reload, restart=restart)
    container_room.container_running(name="container runs", berth=berth, files=restart)
    database_room.access_current(name="roles and rights are as wanted", berth=berth)
    moving.nothing_misplaced(name="nothing lies in a wrong schema", berth=berth)
    migrations_room.at_targets(name="schemas are at their versions", berth=berth)
    database_room.connection_files_published(name="connection files are published", berth=berth)
    plugin_running(name="memory plugin runs", berth=berth, record=receipt)
    checks_room.noted(name="what is pending is known", berth=berth, receipt=receipt, files=restart)
    if smoke:
        checks_room.smoke(name="smoke checks pass", berth=berth, receipt=receipt, files=reload)
    checks_room.receipt_kept(name="receipt is kept", berth=berth, receipt=receipt)


def verify(verb: str, tenant: Tenant) -> None:
    """The smoke suite alone."""
    berth, receipt = begin(verb, tenant)
    checks_room.noted(name="what is pending is known", berth=berth, receipt=receipt, files=restart_files(tenant))
    baseline_known(name="a fresh run's catalogue is known", berth=berth, actions=CODE_STEPS, receipt=receipt)
    plugin_answers(name="memory plugin answers", berth=berth, record=receipt)
    checks_room.smoke(name="smoke checks pass", berth=berth, receipt=receipt, files=reload_files(tenant), drift=True)
