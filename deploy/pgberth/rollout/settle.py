"""A recycle that was killed is ended by the next run."""

from __future__ import annotations

from pyinfra import state
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container import operations as container_room
from pgberth.container.context import TenantContext
from pgberth.report.receipt import Receipt
from pgberth.rollout.recycling import Recycling


@operation()
def finish_interrupted_recycle(context: TenantContext, receipt: Receipt) -> Commands:
    """No recycle that was killed is half done: what it began is proven, or the former container is back."""
    observed = context.observe() if state.is_executing else None
    if observed is None or observed.machine_profile is None or container_room.foreign(context.tenant, observed):
        return
    work = Recycling(context, receipt)
    if "recycling.json" in observed.files:
        problems = work.settle(observed)
    elif not work.cleared():
        return
    else:
        problems = []
    receipt.results = None
    if problems:
        yield commands.refuse(*problems)
        return
    yield commands.shell(":", timeout=5)  # what was done counts as a change
