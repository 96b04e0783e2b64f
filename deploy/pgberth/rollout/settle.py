"""A recycle that was killed is ended by the next run."""

from __future__ import annotations

from pyinfra import state
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container import operations as container_room
from pgberth.container.facts import Berth
from pgberth.report.receipt import Receipt
from pgberth.rollout.recycling import Recycling


@operation()
def settled(berth: Berth, receipt: Receipt) -> Commands:
    """No recycle that was killed is half done: what it began is proven, or the former container is back."""
    seen = berth.look() if state.is_executing else None
    if seen is None or seen.ready is None or container_room.foreign(berth.tenant, seen):
        return
    work = Recycling(berth, receipt)
    if "recycling.json" in seen.files:
        problems = work.settle(seen)
    elif not work.cleared():
        return
    else:
        problems = []
    receipt.results = None
    if problems:
        yield commands.refuse(*problems)
        return
    yield commands.shell(":", timeout=5)  # what was done counts as a change
