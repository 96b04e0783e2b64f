"""verify: the smoke suite alone, and drift."""

from __future__ import annotations

from pgberth.checks.operations import smoke
from pgberth.checks.pending import record_pending
from pgberth.container.plugin import plugin_answers
from pgberth.inventory.run_inventory import tenant_here
from pgberth.knowledge.model import CODE_STEPS
from pgberth.migrations.baseline import baseline_known
from pgberth.migrations.tenant_run import begin
from pgberth.verbs.fleet import fleet


def verify() -> None:
    """The current host's part of a verify."""
    tenant = tenant_here(fleet())
    if tenant is None:
        return
    context = begin("verify", tenant)
    record_pending(name="what is pending is known", context=context)
    baseline_known(name="the catalogue of a fresh run is known", context=context, actions=CODE_STEPS)
    plugin_answers(name="memory plugin answers", context=context)
    smoke(name="smoke checks pass", context=context, drift=True)
