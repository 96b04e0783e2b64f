"""Operations: the smoke suite passes, and the run's receipt is kept."""

from __future__ import annotations

from datetime import UTC, datetime

from pyinfra import host, state
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.checks.context import CheckContext
from pgberth.checks.pending import record_observation
from pgberth.checks.suite import run
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.database.operations import files_of_the_container
from pgberth.database.session import reached
from pgberth.database.tls import trusted_by_clients
from pgberth.migrations import baseline
from pgberth.model import layout
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import PASSWORD_KINDS, SUITE
from pgberth.model.secret import Secret
from pgberth.rendering.configuration import reload_files


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
    receipt = context.receipt
    if context.observe().server is None:
        return [context.not_answering()]
    record_observation(context)
    with reached(context.port) as address:
        receipt.results = run(_check_context(context, address, drift=drift))
    receipt.finished = datetime.now(UTC)
    lines = [f"{context.name}: {r.id}: {problem}" for r in receipt.failed_checks for problem in r.problems]
    if not lines:
        return []
    hint = f"{len(receipt.failed_checks)} of {len(receipt.results)} checks are red; runbooks/check-is-red.md"
    return [*(Problem(line) for line in lines[:-1]), Problem(lines[-1], hint)]


def _check_context(context: TenantContext, address: tuple[str, int], *, drift: bool) -> CheckContext:
    observed, server = context.observe(), context.require_server()
    if observed.container is None:
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
        return [Problem(f"{context.name}: the run's receipt could not be kept: {words}")]
    return []


def keep(context: TenantContext) -> StringCommand:
    """Writes the receipt beside the spec file."""
    receipt = context.receipt
    receipt.changed = context.changed
    name = f"{receipt.started:%Y%m%dT%H%M%SZ}-{receipt.verb}.json"
    script = commands.script("container/keep-receipt.sh")
    return context.change(script, layout.receipts(context.name), name, stdin=receipt.to_json())
