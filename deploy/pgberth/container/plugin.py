"""Operations: a tenant's memory plugin runs, or is gone. It holds no data: it may be created again any time."""

from __future__ import annotations

from pyinfra import state

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.plugin_launch import PluginLaunch, has_current_url, unread_mark, url_files
from pgberth.container.plugin_state import PluginState, observe_plugin
from pgberth.container.port import port_report, refuse_owner
from pgberth.container.sidecar import UNREAD, SidecarSpec, unit_name
from pgberth.container.supervisor import supervisor_of
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.tenant import MEMORY_PLUGIN
from pgberth.rendering.entrypoint import GATE

PAGE = "runbooks/sidecar-unhealthy.md"


@guarded_operation()
def plugin_running(context: TenantContext) -> Commands:
    """
    The tenant's memory plugin runs as the inventory has it, or is gone where the inventory has none.

    A healthy one that differs is `pending: recycle`. One that does not run or is not healthy is created again, and has
    30 seconds to become healthy.
    """
    observed, tenant = context.observe(), context.tenant
    if not observed.ready or not observed.running:
        return
    if tenant.sidecar is None:
        if observed.spec.has_sidecar:
            yield from removed(context)
        return
    plugin = observe_plugin(tenant)
    desired = desired_plugin(context, plugin)
    same = plugin is not None and plugin.spec_hash == desired.hash
    half_told = f"sidecar-secrets/{UNREAD}" in observed.files  # a run was killed while it gave it another URL
    if plugin is not None and plugin.healthy and (same or not half_told):
        if not same:
            difference = f"spec {plugin.spec_hash} runs, {desired.hash} is wanted"
            context.receipt.notes.append(f"memory plugin: pending: recycle ({difference})")
        elif not has_current_url(context):
            yield from reloaded(context, desired.sidecar.port)
        _record(context, plugin)
        return
    if plugin is None or not plugin.running or plugin.port != desired.sidecar.port:
        port = desired.sidecar.port
        refuse_owner(tenant.name, port, port_report(str(port)))
    yield from PluginLaunch.desired(desired).start(context, required=tenant.sidecar.required)
    yield from former_secrets_removed(context)
    if state.is_executing:
        _record(context, observe_plugin(tenant))


def password_renewed(context: TenantContext) -> Commands:
    """
    The tenant's memory plugin, where it has one, logs in with the password that the spec file names now.

    A healthy one reads it again, and only its process is replaced. One of another spec, or ill, is created again.
    """
    sidecar = context.tenant.sidecar
    if sidecar is None:
        return
    plugin = observe_plugin(context.tenant)
    desired = desired_plugin(context, plugin)
    if plugin is not None and plugin.healthy and plugin.spec_hash == desired.hash:
        yield from reloaded(context, desired.sidecar.port)
    else:
        yield from PluginLaunch.desired(desired).start(context, required=sidecar.required)
        yield from former_secrets_removed(context)


def reloaded(context: TenantContext, port: int) -> Commands:
    """A running plugin connects with the current URL: its process is replaced, and its container stays."""
    yield context.write_files(*url_files(context))
    script = commands.script("container/health.sh") + commands.script("container/reload-sidecar.sh")
    arguments = [layout.sidecar(context.name), str(port), str(GATE), unread_mark(context.name)]
    yield context.change(script, context.name, *arguments, timeout=GATE + 30)


def former_secrets_removed(context: TenantContext) -> Commands:
    """What an earlier release kept in podman's store is gone: no container that needs it can come back then."""
    yield context.change(commands.script("container/former-secrets.sh"), layout.sidecar_stored_secrets(context.name))


def desired_plugin(context: TenantContext, plugin: PluginState | None) -> SidecarSpec:
    """Raises Refused where the plugin cannot run."""
    tenant, sidecar = context.tenant, context.tenant.sidecar
    if sidecar is None or plugin is None or not context.observe().ready:
        raise Refused.because(f"{tenant.name}: its memory plugin could not be observed", "run the deploy again")
    if plugin.image is None:
        fact = f"{tenant.name}: image {sidecar.image} of its memory plugin is not on {tenant.machine.name}"
        raise Refused.because(fact, f"bring it into the store of {tenant.machine.account}: {PAGE}")
    if not plugin.image.command:
        fact = f"{tenant.name}: image {sidecar.image} of its memory plugin has no command to run"
        raise Refused.because(fact, f"give it an ENTRYPOINT or a CMD: {PAGE}")
    if plugin.labelled not in ("", tenant.name):
        fact = f"{tenant.name}: container {layout.sidecar(tenant.name)!r} exists and is not this tenant's"
        raise Refused.because(fact, "remove it if nobody needs it: runbooks/foreign-container.md")
    machine = context.require_machine()
    return SidecarSpec(
        tenant=tenant,
        sidecar=sidecar,
        image=plugin.image,
        server_port=context.port,
        home=machine.home,
        podman=machine.podman,
        limits=machine.limits,
        supervisor=supervisor_of(machine.podman, machine.units),
    )


def removed(context: TenantContext) -> Commands:
    """The tenant's memory plugin is gone, its secret and its unit with it."""
    name = context.name
    service = f"{unit_name(name)}.service"
    script, places = (
        commands.script("container/remove-sidecar.sh"),
        (layout.sidecar_etc(name), layout.sidecar_secrets(name)),
    )
    yield context.change(script, layout.sidecar(name), service, *places)
    yield from former_secrets_removed(context)
    spec = context.observe().spec
    if spec.has_sidecar:
        yield context.write(layout.spec_file(name), spec.without("sidecar").text())


def _record(context: TenantContext, plugin: PluginState | None) -> None:
    """How the plugin is, in the receipt."""
    fault = plugin_fault(plugin)
    context.receipt.did[MEMORY_PLUGIN] = "degraded" if fault else "healthy"
    if fault:
        context.receipt.notes.append(f"memory plugin: degraded: {fault}; {PAGE}")


def plugin_fault(plugin: PluginState | None) -> str:
    """Why it is not healthy, "" where it is."""
    if plugin is None:
        return "it could not be observed"
    return "" if plugin.healthy else plugin.fault


@guarded_operation()
def plugin_answers(context: TenantContext) -> Commands:
    """The memory plugin is healthy. An unhealthy one fails the run where it is required, and is noted otherwise."""
    yield from ()
    sidecar = context.tenant.sidecar
    if sidecar is None or not state.is_executing:
        return
    plugin = observe_plugin(context.tenant)
    _record(context, plugin)
    if sidecar.required and (fault := plugin_fault(plugin)):
        raise Refused.because(f"{context.name}: its memory plugin is not healthy: {fault}", PAGE)
