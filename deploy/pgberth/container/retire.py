"""A tenant leaves its machine; its data stays."""

from __future__ import annotations

from datetime import UTC, datetime

from pyinfra import host
from pyinfra import state as pyinfra_state

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.desired import refuse_foreign_container
from pgberth.container.plugin import removed
from pgberth.container.spec import STOP_TIMEOUT
from pgberth.model import layout
from pgberth.model.names import THROWAWAY
from pgberth.model.problems import Refused


@guarded_operation()
def retired(context: TenantContext) -> Commands:
    """
    The tenant has no container and no unit. Its volume, secrets and spec file are kept, and the spec file says so.

    The container goes first: if a run is killed in between, the next one finishes it.
    """
    context.require_machine()
    refuse_foreign_container(context)
    observed = context.observe()
    if observed.container is None and observed.spec.retired:
        host.noop("it is already retired")
        return
    if observed.container is not None and observed.answer is not None:
        yield context.superuser("CHECKPOINT;\n")
    if observed.spec.has_sidecar:
        yield from removed(context)
    yield context.change(_removal(), context.name, str(STOP_TIMEOUT), timeout=STOP_TIMEOUT + 60)
    if spec := context.observe().spec:
        text = spec.updated({"retired": f"{datetime.now(UTC):%Y-%m-%d}"}).text()
        yield context.write(layout.spec_file(context.name), text)


@guarded_operation(is_idempotent=False)
def discarded(context: TenantContext) -> Commands:
    """Nothing of a throwaway tenant is left, data included. Refuses every other tenant by its name."""
    if not pyinfra_state.is_executing:
        return
    if not context.name.startswith(THROWAWAY):
        raise Refused.because(f"{context.name}: it is not a throwaway tenant", "nothing was removed")
    refuse_foreign_container(context)
    script = _removal() + commands.script("container/discard.sh")
    yield context.change(script, context.name, "10", timeout=120)


def _removal() -> str:
    """The script that removes container and unit. Arguments: container, seconds to stop in."""
    return commands.script("container/stop.sh") + commands.script("container/remove-unit.sh")
