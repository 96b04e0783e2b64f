"""Verbs: the smoke suite passes, and the run's receipt is kept."""

from __future__ import annotations

from datetime import UTC, datetime

from pyinfra import host, state
from pyinfra.api import StringCommand, operation

from pgberth import commands
from pgberth.checks.context import CheckContext
from pgberth.checks.suite import run
from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.container.operations import desired_spec
from pgberth.container.spec import ContainerSpec
from pgberth.container.state import TenantState
from pgberth.database.operations import made_with
from pgberth.database.probe import Server
from pgberth.database.session import reached
from pgberth.database.settings import OURS, desired_settings, setting_drift
from pgberth.database.tls import trusted_by_clients
from pgberth.migrations import baseline
from pgberth.migrations.operations import waiting
from pgberth.model import layout
from pgberth.model.listen import described, listening
from pgberth.model.problems import Problem
from pgberth.model.secret import Secret
from pgberth.rendering.configuration import restart_files
from pgberth.report.receipt import Receipt


@operation(is_idempotent=False)
def smoke(context: TenantContext, receipt: Receipt, files: dict[str, str], drift: bool = False) -> Commands:
    """
    Every check that applies to the tenant passes; the problems are listed otherwise, one line each.

    + files: the configuration the server takes up on reload, name -> text
    + drift: compare the catalogue with a fresh run's too
    """
    if not state.is_executing:
        return
    problems = judged(context, receipt, files, drift=drift)
    if problems:
        # At once, not yielded: where the disk is full, what is red has to be told all the same.
        not_kept = kept_at_once(context, receipt) if receipt.results is not None else []
        *facts, last = (problem.fact for problem in (*problems, *not_kept))
        yield commands.refuse(*map(Problem, facts), Problem(last, problems[-1].hint))


def judged(context: TenantContext, receipt: Receipt, files: dict[str, str], *, drift: bool = False) -> list[Problem]:
    """The suite's problems, and in the receipt how each check came out. See `smoke`."""
    observed = context.observe()
    server = Server.of(observed) if observed is not None else None
    if observed is None or observed.container is None or server is None:
        return [not_answering(context, observed)]
    tell(receipt, observed, server)
    password = context.secret("app")
    files = {**files, **made_with(context.tenant, observed, restart_files(context.tenant))}
    with reached(context.port) as address:
        fresh = baseline.read(context, server) if drift else None
        why = receipt.no_baseline if fresh is None else ""
        told = (
            context.tenant,
            observed,
            observed.container,
            server,
            address,
            password or Secret(""),
            files,
            fresh,
            why,
        )
        subject = CheckContext(*told, trusted_by_clients(context) if listening(observed.spec) else "")
        receipt.results = run(subject)
    receipt.finished = datetime.now(UTC)
    lines = [f"{context.tenant.name}: {r.id}: {problem}" for r in receipt.failed_checks for problem in r.problems]
    if not lines:
        return []
    hint = f"{len(receipt.failed_checks)} of {len(receipt.results)} checks are red; runbooks/check-is-red.md"
    return [*(Problem(line) for line in lines[:-1]), Problem(lines[-1], hint)]


def tell(receipt: Receipt, observed: TenantState, server: Server) -> None:
    """Write down what was seen."""
    receipt.versions = {"postgres": server.version, "pgvector": server.vector}
    heads = [row for row in server.ledger if row["state"] == "applied" and row["kind"] == "versioned"]
    for row in heads:
        receipt.versions[row["component"]] = max(row["version"], receipt.versions.get(row["component"], ""))
    if observed.container is not None:
        receipt.image = observed.container.image.removeprefix("sha256:")[:12]
        receipt.spec = observed.container.spec_hash
        receipt.rollout_hash = (
            str(observed.spec.get("rollout", "")) if observed.spec.get("hash") == receipt.spec else ""
        )


def pending(observed: TenantState, desired: ContainerSpec) -> str:
    """What only a recycle would change, "" where nothing."""
    found = observed.container
    if found is None or not found.running:
        return ""
    if found.spec_hash == desired.hash:
        return "; ".join(_held(observed, desired))
    told = {"image": found.image, **{name: observed.spec.get(name) for name in ("port", "profile", "supervisor")}}
    asked = {"image": desired.image.id, "port": desired.tenant.port, "profile": desired.tenant.profile_name}
    told["listen"] = described(listening(observed.spec))
    asked["listen"] = described(desired.tenant.listen.published) if desired.tenant.listen is not None else None
    if told["supervisor"]:
        asked["supervisor"] = desired.supervisor
    differ = [f"{name} {told[name]} -> {asked[name]}" for name in asked if told[name] != asked[name]]
    return "; ".join(differ) or "flags or settings of this release"


def _held(observed: TenantState, desired: ContainerSpec) -> list[str]:
    """Settings that somebody changed by hand, and that the running server cannot put back."""
    server = Server.of(observed)
    if server is None:
        return []
    found = setting_drift(desired_settings(desired.files[OURS]), server.settings)
    return [
        f"{setting.name} {setting.live} -> {setting.desired or 'unset'}" for setting in found if setting.needs_restart
    ]


def not_answering(context: TenantContext, observed: TenantState | None) -> Problem:
    """Why a tenant could not be asked at all."""
    name = context.tenant.name
    if observed is None or observed.machine_profile is None:
        return Problem(f"{name}: its machine is not ready for tenants", "run deploy/provision.py without --limit")
    if observed.container is None and "retired" in observed.spec:
        fact = f"{name}: it was retired on {observed.spec['retired']}, and its data is kept"
        return Problem(fact, f"run deploy/provision.py --limit {name} to bring it back, or take its line out")
    if observed.container is None:
        return Problem(f"{name}: it has no container", f"run deploy/provision.py --limit {name}")
    if not observed.container.running:
        fact = f"{name}: its container is {observed.container.status} (exit code {observed.container.exit_code})"
        return Problem(fact, f"run deploy/provision.py --limit {name}, which starts it")
    return Problem(f"{name}: its server does not answer: {observed.server_said}", "runbooks/server-does-not-start.md")


# Of each verb, so that a verify every minute does not push out what a deploy did.
_KEEP = r"""set -eu; umask 077
mkdir -p "$1"; cat > "$1/.new"; sync "$1/.new"; mv "$1/.new" "$1/$2"
ls -1 "$1" | grep -e "-${2#*-}\$" | sort -r | tail -n +51 | while read -r old; do rm -f -- "$1/$old"; done
"""


@operation()
def receipt_kept(context: TenantContext, receipt: Receipt) -> Commands:
    """
    Where the run changed something, its receipt lies beside the spec file; of each verb the last fifty are kept.

    A run whose checks are red ends before it comes here; it has kept its receipt by then.
    """
    if not context.changed and not _half_kept(context):
        host.noop("nothing was changed, so there is nothing to keep a receipt of")
        return
    yield keep(context, receipt)


def _half_kept(context: TenantContext) -> bool:
    """Whether a run was killed over its receipt: it had changed something."""
    observed = context.observe()
    return observed is not None and "receipts/.new" in observed.files


def kept_at_once(context: TenantContext, receipt: Receipt) -> list[Problem]:
    """Keep the receipt of a run that ends here; the problem, where it cannot be kept."""
    command = keep(context, receipt)
    kept, output = host.run_shell_command(command, **command.connector_arguments)
    said = " ".join(output.stderr_lines)
    return [] if kept else [Problem(f"{context.tenant.name}: the run's receipt could not be kept: {said}")]


def keep(context: TenantContext, receipt: Receipt) -> StringCommand:
    """The receipt is written beside the spec file."""
    receipt.changed = context.changed
    name = f"{receipt.started:%Y%m%dT%H%M%SZ}-{receipt.verb}.json"
    return context.change(_KEEP, layout.receipts(context.tenant.name), name, stdin=receipt.to_json())


@operation()
def record_pending(context: TenantContext, receipt: Receipt, files: dict[str, str]) -> Commands:
    """What the run saw is written into its receipt; never a change."""
    yield from ()
    observed = context.observe() if state.is_executing else None
    if observed is None:
        return
    desired = desired_spec(context.tenant, observed, files)
    if isinstance(desired, ContainerSpec):
        receipt.pending = pending(observed, desired)
    server = Server.of(observed)
    if server is not None:
        tell(receipt, observed, server)
        receipt.notes += waiting(context.tenant, server)
    receipt.notes += [
        f"password of {kind}: its source gives another one now; deploy/rotate.py takes it up"
        for kind, password in context.given.items()
        if password != context.secret(kind)
    ]
    host.noop(receipt.pending or "nothing is pending")
