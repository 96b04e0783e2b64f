"""Operations: the smoke suite passes, and the run's receipt is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import gevent
from pyinfra import host, state
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.checks.pending import record_observation
from pgberth.commands import Commands, guarded_operation
from pgberth.container.activity import activity_now
from pgberth.container.context import TenantContext
from pgberth.database.operations import files_of_the_container
from pgberth.database.tls import trusted_by_clients
from pgberth.model import layout
from pgberth.model.diagnosis import pages
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import PASSWORD_KINDS, SUITE
from pgberth.model.secret import Secret
from pgberth.rendering.configuration import reload_files

if TYPE_CHECKING:
    from pgberth.checks.context import CheckContext


def import_early() -> None:
    """Import the suite, and the driver with it, while the run waits for its first answer from a machine."""
    gevent.spawn(import_module, "pgberth.checks.suite")


@guarded_operation(is_idempotent=False)
def smoke(context: TenantContext, drift: bool = False) -> Commands:
    """
    Every check that applies to the tenant passes; otherwise the problems are listed, one line each.

    + drift: also compare the catalogue with that of a fresh run
    """
    yield from ()
    problems = judge(context, drift=drift) if state.is_executing else []
    if problems:
        # Kept at once, not yielded: where the disk is full, the red checks must be printed all the same.
        not_kept = keep_at_once(context) if context.receipt.results is not None else []
        *facts, last = (problem.fact for problem in (*problems, *not_kept))
        raise Refused([*map(Problem, facts), Problem(last, problems[-1].hint)])


def judge(context: TenantContext, *, drift: bool = False) -> list[Problem]:
    """The suite's problems; the receipt gets the result of each check. See `smoke`."""
    from pgberth.checks.suite import run  # with the driver: a run without the suite needs neither
    from pgberth.database.session import reached

    receipt = context.receipt
    if (fault := context.outage()) is not None:
        return [fault]
    record_observation(context)
    with reached(context.port) as address:
        asked = check_context(context, address, drift=drift)
        receipt.results = run(asked)
    receipt.notes += [note for note in asked.notes if note not in receipt.notes]  # a run may judge more than once
    receipt.finished = datetime.now(UTC)
    lines = [f"{context.name}: {r.id}: {problem}" for r in receipt.failed_checks for problem in r.problems]
    if not lines:
        return []
    where = ", ".join([*pages(lines), "runbooks/check-is-red.md"])
    hint = f"{len(receipt.failed_checks)} of {len(receipt.results)} checks are red; {where}"
    return [*(Problem(line) for line in lines[:-1]), Problem(lines[-1], hint)]


def check_context(context: TenantContext, address: tuple[str, int], *, drift: bool) -> CheckContext:
    """What the checks examine. Raises Refused where the server does not answer."""
    from pgberth.checks.context import CheckContext
    from pgberth.migrations import baseline

    # Not by require_server: of a cluster that is another's, the suite says so in its own words.
    observed = context.observe()
    server = observed.server
    if observed.container is None or server is None:
        raise Refused([context.not_answering()])
    fresh = baseline.read(context, server) if drift else None
    return CheckContext(
        tenant=context.tenant,
        state=observed,
        container=observed.container,
        server=server,
        address=address,
        password=context.secret("app") or Secret(""),
        suite_password=context.secret(PASSWORD_KINDS[SUITE]) or Secret(""),
        files={**reload_files(context.tenant), **files_of_the_container(context)},
        baseline=fresh,
        no_baseline=context.receipt.no_baseline if fresh is None else "",
        root=trusted_by_clients(context),
        ask_activity=partial(activity_now, context.name, observed.container),
    )


@guarded_operation()
def receipt_kept(context: TenantContext) -> Commands:
    """
    Where the run changed something, its receipt is beside the spec file; the newest fifty of each verb are kept.

    A run with red checks ends before this operation, and has kept its receipt by then.
    """
    # A receipt that is half written is of a run that was killed, and that had changed something.
    if not context.changed and "receipts/.new" not in context.observe().files:
        host.noop("nothing was changed, so there is no receipt to keep")
        return
    yield keep(context)


def keep_at_once(context: TenantContext) -> list[Problem]:
    """Keep the receipt of a run that ends here; the problem, where it cannot be kept."""
    try:
        context.run(keep(context))
    except Refused as refused:
        words = " ".join(problem.fact for problem in refused.problems)
        fact = f"{context.name}: the run's receipt could not be kept: {words}"
        return [Problem(fact, "what the run did stands; runbooks/disk-nearly-full.md if there is no space left")]
    return []


def keep(context: TenantContext) -> StringCommand:
    """Writes the receipt beside the spec file."""
    receipt = context.receipt
    receipt.changed = context.changed
    name = f"{receipt.started:%Y%m%dT%H%M%SZ}-{receipt.verb}.json"
    script = commands.script("container/keep-receipt.sh")
    return context.change(script, layout.receipts(context.name), name, stdin=receipt.to_json())
