"""Tenant work, in order: each operation's name is the state it reaches."""

from __future__ import annotations

from pgberth.checks import operations as checks_room
from pgberth.container import operations as container_room
from pgberth.container.plugin import plugin_answers, plugin_running
from pgberth.container.port import port_free
from pgberth.container.run_lock import acquire_run_lock
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
from pgberth.rollout.settle import finish_interrupted_recycle
from pgberth.verbs.fleet import external_certificates, external_passwords


def provision(verb: str, tenant: Tenant, found: Fleet, *, smoke: bool) -> None:
    """Bring one tenant to the inventory's state, and prove that it works."""
    context, receipt = begin(verb, tenant, external_passwords().get(tenant.name))
    restart, reload = restart_files(tenant), reload_files(tenant)
    ports = frozenset(other.port for other in found.tenants_on(tenant.machine.name))
    acquire_run_lock(name="tenant is ours", context=context, verb=verb)
    port_free(name="port is free", context=context, asked=ports)
    container_room.secrets_exist(name="passwords exist", context=context)
    finish_interrupted_recycle(name="no recycle is half done", context=context, receipt=receipt)
    container_room.volume_initialised(name="volume is initialised", context=context)
    if tenant.listen is not None:
        certificate_current(
            name="certificate is current", context=context, given=external_certificates().get(tenant.name)
        )
    database_room.configuration_current(name="configuration is ours", context=context, files=reload, restart=restart)
    container_room.container_running(name="container runs", context=context, files=restart)
    database_room.access_current(name="roles and rights are as wanted", context=context)
    moving.nothing_misplaced(name="nothing lies in a wrong schema", context=context)
    migrations_room.at_targets(name="schemas are at their versions", context=context)
    database_room.connection_files_published(name="connection files are published", context=context)
    plugin_running(name="memory plugin runs", context=context, record=receipt)
    checks_room.record_pending(name="what is pending is known", context=context, receipt=receipt, files=restart)
    if smoke:
        checks_room.smoke(name="smoke checks pass", context=context, receipt=receipt, files=reload)
    checks_room.receipt_kept(name="receipt is kept", context=context, receipt=receipt)


def verify(verb: str, tenant: Tenant) -> None:
    """The smoke suite alone."""
    context, receipt = begin(verb, tenant)
    checks_room.record_pending(
        name="what is pending is known", context=context, receipt=receipt, files=restart_files(tenant)
    )
    baseline_known(name="a fresh run's catalogue is known", context=context, actions=CODE_STEPS, receipt=receipt)
    plugin_answers(name="memory plugin answers", context=context, record=receipt)
    checks_room.smoke(
        name="smoke checks pass", context=context, receipt=receipt, files=reload_files(tenant), drift=True
    )
