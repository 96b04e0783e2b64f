"""A tenant leaves its machine; its data stays."""

from __future__ import annotations

from datetime import UTC, datetime

from pyinfra import host
from pyinfra import state as pyinfra_state
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.container.launch import spec_text
from pgberth.container.operations import foreign, not_ready
from pgberth.container.plugin import removed
from pgberth.container.spec import STOP_TIMEOUT
from pgberth.model import layout
from pgberth.model.names import THROWAWAY
from pgberth.model.problems import Problem

# The unit goes once nothing runs under it any more: it would bring the container back at the next boot.
_REMOVE = """
cd "$HOME" || exit 1
rm -f "QUADLETS/pgberth-$name.container" "UNITS/$service" "UNITS/default.target.wants/$service"
if [ -n "$unit" ]; then systemctl --user daemon-reload; fi
"""


@operation()
def retired(context: TenantContext) -> Commands:
    """
    No container and no unit of the tenant is left; its volume, its secrets and its spec file are, and that one says so.

    The container goes first: a run that is killed in between is finished by the next one.
    """
    state = context.observe()
    if state is None or state.machine_profile is None:
        yield commands.refuse(not_ready(context.tenant))
        return
    if problem := foreign(context.tenant, state):
        yield commands.refuse(problem)
        return
    name = context.tenant.name
    if state.container is not None or "retired" not in state.spec:
        if state.container is not None and state.server is not None:
            yield context.superuser("CHECKPOINT;\n")
        if "sidecar" in state.spec:
            yield from removed(context)
        yield context.change(removal(), name, str(STOP_TIMEOUT), timeout=STOP_TIMEOUT + 60)
        observed = context.observe()
        if observed is not None and observed.spec:
            told = {**observed.spec, "retired": f"{datetime.now(UTC):%Y-%m-%d}"}
            yield context.write(layout.spec_file(name), spec_text(told))
        return
    host.noop("it is retired already")


# Only what the label says is this tenant's; a throwaway tenant's data is nobody's.
_DISCARD = """
for volume in $(podman volume ls --quiet --filter "label=TENANT=$name"); do
  podman volume rm "$volume" >/dev/null || exit 1
done
rm -rf -- "$HOME/TENANTS/$name"
"""


@operation(is_idempotent=False)
def discarded(context: TenantContext) -> Commands:
    """Nothing is left of a throwaway tenant, data included. Refuses any whose name is not one of those."""
    if not pyinfra_state.is_executing:
        return
    name = context.tenant.name
    if not name.startswith(THROWAWAY):
        yield commands.refuse(Problem(f"{name}: it is no throwaway tenant", "nothing was removed"))
        return
    state = context.observe()
    if state is not None and (problem := foreign(context.tenant, state)):
        yield commands.refuse(problem)
        return
    script = removal() + _DISCARD.replace("TENANTS", f"{layout.HOME}/tenants").replace("TENANT", layout.TENANT_LABEL)
    yield context.change(script, name, "10", timeout=120)


def removal() -> str:
    """The script that takes away container and unit. Arguments: container, seconds to stop in."""
    text = _REMOVE.replace("QUADLETS", layout.QUADLETS).replace("UNITS", layout.UNITS)
    return commands.script("container/stop.sh") + text
