"""Operations: a tenant's memory plugin runs, or is gone. It holds no data: it may be created again any time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyinfra import host, state
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.port import port_report, refuse_owner
from pgberth.container.sidecar import SCRIPT, PluginImage, SidecarSpec, sidecar_unit, unit_name
from pgberth.container.state import sections_of
from pgberth.container.supervisor import supervisor_of
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.tenant import MEMORY_PLUGIN, Tenant
from pgberth.rendering.entrypoint import GATE

_PAGE = "runbooks/sidecar-unhealthy.md"


@dataclass(frozen=True)
class PluginState:
    """
    A memory plugin on its machine.

    + image: the inventory's image as the machine has it; None where it is not there
    + running: whether its container runs
    + spec_hash: what that was created from, "" where there is none
    + labelled: the tenant that its container names, "" where there is none
    + health: the first line of the answer to GET /v1/health
    """

    image: PluginImage | None = None
    running: bool = False
    spec_hash: str = ""
    labelled: str = ""
    health: str = ""

    @property
    def healthy(self) -> bool:
        return self.running and self.health.startswith("HTTP/") and " 200" in self.health

    @property
    def fault(self) -> str:
        """Why it is not healthy, in a few words."""
        return f"GET /v1/health gives {self.health or 'no answer'}" if self.running else "it does not run"

    @classmethod
    def parse(cls, output: list[str]) -> PluginState:
        """Raises ValueError, LookupError, TypeError or AttributeError where it is not observe-sidecar.sh's output."""
        sections = sections_of(output)
        container: dict[str, Any] = (json.loads(sections["container"] or "[]") or [{}])[0]
        labels = container.get("Config", {}).get("Labels") or {}
        return cls(
            image=_image((json.loads(sections["image"] or "[]") or [None])[0]),
            running=container.get("State", {}).get("Status") == "running",
            spec_hash=labels.get(layout.SPEC_LABEL, ""),
            labelled=labels.get(layout.TENANT_LABEL, "") if container else "",
            health=sections["health"],
        )


def _image(inspected: dict[str, Any] | None) -> PluginImage | None:
    if inspected is None:
        return None
    command = (inspected["Config"].get("Entrypoint") or []) + (inspected["Config"].get("Cmd") or [])
    return PluginImage("sha256:" + inspected["Id"].removeprefix("sha256:"), tuple(command))


class PluginObservation(FactBase[PluginState | None]):
    """A tenant's memory plugin; None where it could not be asked."""

    def command(self, container: str, image: str, port: int) -> StringCommand:
        text = commands.script("container/health.sh") + commands.script("container/observe-sidecar.sh")
        return commands.shell(text, container, image, str(port), timeout=60)

    def process(self, output: list[str]) -> PluginState:
        try:
            return PluginState.parse(output)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise FactProcessError(f"unexpected answer from observe-sidecar.sh: {error!r}") from error

    @staticmethod
    def default() -> PluginState | None:
        return None


def observe_plugin(tenant: Tenant) -> PluginState | None:
    """The tenant's memory plugin now; None where it has none, or could not be asked."""
    sidecar = tenant.sidecar
    if sidecar is None:
        return None
    place = {"container": layout.sidecar(tenant.name), "image": sidecar.image, "port": sidecar.port}
    found: PluginState | None = host.get_fact(PluginObservation, **place, _ignore_errors=not state.is_executing)
    return found


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
    desired = _desired(context, plugin)
    # After a change of TLS the server refuses its connections, whatever it answers about its health.
    recorded = observed.spec.sidecar
    shut_out = bool(recorded) and bool(recorded.get("tls")) != desired.tls
    if plugin is not None and plugin.healthy and not shut_out:
        if plugin.spec_hash != desired.hash:
            difference = f"spec {plugin.spec_hash} runs, {desired.hash} is wanted"
            context.receipt.notes.append(f"memory plugin: pending: recycle ({difference})")
        _record(context, plugin)
        return
    if plugin is None or not plugin.running:
        port = desired.sidecar.port
        refuse_owner(tenant.name, port, port_report(str(port)))
    yield from _created(context, desired)
    if state.is_executing:
        _record(context, observe_plugin(tenant))


def recreated(context: TenantContext) -> Commands:
    """The tenant's memory plugin, where it has one, is created again with the password that the spec file names now."""
    if context.tenant.sidecar is not None:
        yield from _created(context, _desired(context, observe_plugin(context.tenant)))


def _desired(context: TenantContext, plugin: PluginState | None) -> SidecarSpec:
    """Raises Refused where the plugin cannot run."""
    tenant, sidecar = context.tenant, context.tenant.sidecar
    if sidecar is None or plugin is None or not context.observe().ready:
        raise Refused.because(f"{tenant.name}: its memory plugin could not be observed", "run the deploy again")
    if plugin.image is None:
        fact = f"{tenant.name}: image {sidecar.image} of its memory plugin is not on {tenant.machine.name}"
        raise Refused.because(fact, f"bring it into the store of {tenant.machine.account}: {_PAGE}")
    if not plugin.image.command:
        fact = f"{tenant.name}: image {sidecar.image} of its memory plugin has no command to run"
        raise Refused.because(fact, f"give it an ENTRYPOINT or a CMD: {_PAGE}")
    if plugin.labelled not in ("", tenant.name):
        fact = f"{tenant.name}: container {layout.sidecar(tenant.name)!r} exists and is not this tenant's"
        raise Refused.because(fact, "remove it if nobody needs it: runbooks/foreign-container.md")
    password, machine = context.secret("app"), context.require_machine()
    if password is None:
        raise Refused.because(f"{tenant.name}: no stored password for {context.login}", "runbooks/secret-missing.md")
    return SidecarSpec(
        tenant=tenant,
        sidecar=sidecar,
        image=plugin.image,
        server_port=context.port,
        login=context.login,
        password=password,
        home=machine.home,
        podman=machine.podman,
        limits=machine.limits,
        supervisor=supervisor_of(machine.podman, machine.units),
        tls=bool(context.observe().spec.listening),
    )


def _created(context: TenantContext, desired: SidecarSpec) -> Commands:
    name = context.name
    yield context.write(f"{layout.sidecar_etc(name)}/{SCRIPT}", desired.script, "0700")
    tls = {"tls": True} if desired.tls else {}
    spec = context.observe().spec
    sidecar = {"hash": desired.hash, "image": desired.image.id, "port": desired.sidecar.port, **tls}
    if spec and spec.sidecar != sidecar:
        yield context.write(layout.spec_file(name), spec.updated({"sidecar": sidecar}).text())
    unit = sidecar_unit(desired)
    arguments = [
        *(name, layout.sidecar(name), desired.secret, layout.sidecar_secrets(name), str(desired.sidecar.port)),
        *(str(GATE), "yes" if desired.sidecar.required else "no", f"{unit_name(name)}.service"),
        unit.file,
    ]
    script = commands.script("container/health.sh") + commands.script("container/start-sidecar.sh")
    stdin = f"{desired.url.reveal()}\n{unit.text}"
    yield context.change(script, *arguments, *desired.arguments(), timeout=150, stdin=stdin)


def removed(context: TenantContext) -> Commands:
    """The tenant's memory plugin is gone, its secret and its unit with it."""
    name = context.name
    place, service = layout.sidecar_secrets(name), f"{unit_name(name)}.service"
    script = commands.script("container/remove-sidecar.sh")
    yield context.change(script, layout.sidecar(name), place, service, layout.sidecar_etc(name))
    spec = context.observe().spec
    if spec.has_sidecar:
        yield context.write(layout.spec_file(name), spec.without("sidecar").text())


def _record(context: TenantContext, plugin: PluginState | None) -> None:
    """How the plugin is, in the receipt."""
    fault = _fault(plugin)
    context.receipt.did[MEMORY_PLUGIN] = "degraded" if fault else "healthy"
    if fault:
        context.receipt.notes.append(f"memory plugin: degraded: {fault}; {_PAGE}")


def _fault(plugin: PluginState | None) -> str:
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
    if sidecar.required and (fault := _fault(plugin)):
        raise Refused.because(f"{context.name}: its memory plugin is not healthy: {fault}", _PAGE)
