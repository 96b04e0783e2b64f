"""The memory plugin's part of a recycle: it changes with its server, and goes back with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.container.plugin import PAGE, desired_plugin, former_secrets_removed, plugin_fault, reloaded, removed
from pgberth.container.plugin_launch import PluginLaunch, has_current_url, running_plugin
from pgberth.container.plugin_state import observe_plugin
from pgberth.model.problems import Refused

_SECONDS = 5  # for a plugin to open sessions with a new server


class PluginSwap:
    """
    A plugin that is of the desired spec already is left alone: it finds its server again by itself.

    + previous: the plugin that would be brought back; None where none was there
    + needed: whether the recycle fails where the plugin is not healthy: it is required, or was healthy before
    """

    def __init__(self, context: TenantContext, previous: PluginLaunch | None = None, *, needed: bool = False):
        self.context, self.previous, self.needed = context, previous, needed

    @classmethod
    def before(cls, context: TenantContext) -> PluginSwap:
        """As it is before anything is changed. Raises Refused where the desired one cannot run."""
        sidecar = context.tenant.sidecar
        if sidecar is None:
            return cls(context)
        plugin = observe_plugin(context.tenant)
        desired = desired_plugin(context, plugin)
        previous = running_plugin(context, plugin, desired) if plugin is not None else None
        return cls(context, previous, needed=sidecar.required or (plugin is not None and plugin.healthy))

    @classmethod
    def from_body(cls, context: TenantContext, body: Mapping[str, Any]) -> PluginSwap:
        """As a killed run recorded it. Raises KeyError or TypeError where the body is another's."""
        previous = body["former"]
        launch = PluginLaunch.from_body(previous) if previous is not None else None
        return cls(context, launch, needed=bool(body["needed"]))

    def to_body(self) -> dict[str, Any]:
        return {"former": self.previous.to_body() if self.previous is not None else None, "needed": self.needed}

    def advance(self) -> Commands:
        """The desired plugin runs beside the server. Raises Refused where it is needed and not healthy."""
        if self.context.tenant.sidecar is None:
            return
        plugin = observe_plugin(self.context.tenant)
        desired = desired_plugin(self.context, plugin)
        if plugin is not None and plugin.spec_hash == desired.hash and self._finds_its_server():
            if not has_current_url(self.context):
                yield from reloaded(self.context, desired.sidecar.port)
        else:
            yield from PluginLaunch.desired(desired).start(self.context, required=self.needed)
        if self.needed and (fault := plugin_fault(observe_plugin(self.context.tenant))):
            raise Refused.because(f"{self.context.name}: its memory plugin is not healthy: {fault}", PAGE)

    def over(self) -> Commands:
        """The previous plugin cannot be needed again."""
        if self.context.tenant.sidecar is not None:
            yield from former_secrets_removed(self.context)

    def _finds_its_server(self) -> bool:
        """Whether the running plugin is healthy soon after its server came back; its sessions ended with the server."""
        deadline = time.monotonic() + _SECONDS
        while (plugin := observe_plugin(self.context.tenant)) is None or plugin.running:
            if plugin is not None and plugin.healthy:
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return False

    def back(self) -> Commands:
        """The previous plugin runs again beside the previous server, or none where there was none."""
        sidecar = self.context.tenant.sidecar
        if sidecar is None:
            return
        if self.previous is None:
            if self.context.observe().spec.has_sidecar and self.needed:
                yield from removed(self.context)
            return
        plugin = observe_plugin(self.context.tenant)
        if plugin is not None and plugin.healthy and plugin.spec_hash == self.previous.spec["hash"]:
            current = has_current_url(self.context)
            yield from self.previous.write_files(self.context)
            if not current:
                yield from reloaded(self.context, int(self.previous.spec["port"]))
        else:
            yield from self.previous.start(self.context, required=self.needed)
