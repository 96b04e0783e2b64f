"""A recycle that was killed is ended by the next run."""

from __future__ import annotations

from pyinfra import state

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.desired import refuse_foreign_container
from pgberth.model.problems import Refused


@guarded_operation()
def finish_interrupted_recycle(context: TenantContext) -> Commands:
    """No recycle is half done: what a killed run began is proven, or the previous container runs again."""
    if not state.is_executing or not context.observe().ready or _foreign(context):
        return
    observed = context.observe()
    if "recycling.json" not in observed.files and not (observed.server is not None and observed.server.access):
        return  # a probe's leftover is among what is wrong with the access
    from pgberth.rollout.attempt import RecycleAttempt  # with the driver

    attempt = RecycleAttempt(context)
    problems = []
    if "recycling.json" in observed.files:
        problems = attempt.settle()
    elif not attempt.clear_leftovers():
        return
    context.receipt.results = None
    if problems:
        raise Refused(problems)
    yield commands.shell(":", timeout=5)  # so that it counts as a change


def _foreign(context: TenantContext) -> bool:
    """Whether the container is not this tenant's; the next operation refuses it."""
    try:
        refuse_foreign_container(context)
    except Refused:
        return True
    return False
