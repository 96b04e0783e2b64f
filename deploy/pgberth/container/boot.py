"""The file that starts a running tenant at boot, and again after a crash."""

from __future__ import annotations

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.container.spec import ContainerSpec
from pgberth.container.units import systemd_unit


def unit_written(context: TenantContext, desired: ContainerSpec) -> Commands:
    """A running tenant's unit is the desired one; the tenant runs on meanwhile."""
    unit, existing = systemd_unit(desired), dict(context.observe().units)
    if unit.file and existing != unit.digests:
        others = sorted(set(existing) - set(unit.digests))
        script = commands.script("container/write-unit.sh")
        yield context.change(script, unit.file, unit.link, *others, timeout=60, stdin=unit.text)
