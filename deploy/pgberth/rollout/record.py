"""What a recycle would bring back, recorded before anything is changed, so that the run after a killed one finds it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.container.context import TenantContext
from pgberth.container.launch import ContainerLaunch
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.rollout.plugin_swap import PluginSwap

PAGE = "runbooks/recycle-went-back.md"


@dataclass(frozen=True)
class RecycleRecord:
    """
    + previous, desired: the server's container before, and after
    + plugin: the memory plugin's part
    + red: the ids of the checks that were red before
    + reason: the operator's own words
    """

    previous: ContainerLaunch
    desired: ContainerLaunch
    plugin: PluginSwap
    red: frozenset[str]
    reason: str = ""

    def written(self, context: TenantContext) -> StringCommand:
        """The command that keeps it."""
        body = {
            "former": self.previous.to_body(),
            "wanted": self.desired.to_body(),
            "plugin": self.plugin.to_body(),
            "red": sorted(self.red),
            "reason": self.reason,
        }
        text = json.dumps(body, default=dict, indent=2) + "\n"
        return context.write(layout.recycling_file(context.name), text)

    @classmethod
    def read(cls, context: TenantContext) -> RecycleRecord:
        """What a killed run kept; an earlier release kept nothing of plugin and checks. Raises Refused."""
        path = layout.recycling_file(context.name)
        done, output = host.run_shell_command(commands.shell('cat "$1"', path, timeout=10))
        try:
            body = json.loads(output.stdout) if done else {}
            servers = ContainerLaunch.from_body(body["former"]), ContainerLaunch.from_body(body["wanted"])
            plugin = PluginSwap.from_body(context, body.get("plugin") or {"former": None, "needed": False})
            return cls(*servers, plugin, frozenset(body.get("red", ())), str(body.get("reason", "")))
        except (ValueError, KeyError, TypeError):
            fact = f"{context.name}: what an interrupted recycle left in ~/{path} is not understood"
            raise Refused.because(fact, PAGE) from None
