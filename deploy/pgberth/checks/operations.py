"""Verbs: the smoke suite passes, and the run's receipt is kept."""

from __future__ import annotations

from datetime import UTC, datetime

from pyinfra import host, state
from pyinfra.api import operation

from pgberth import commands
from pgberth.checks import baseline
from pgberth.checks.receipt import Receipt
from pgberth.checks.subject import Subject
from pgberth.checks.suite import run
from pgberth.commands import Commands
from pgberth.container.facts import Berth
from pgberth.container.spec import ContainerSpec
from pgberth.container.state import TenantState
from pgberth.database.probe import Server
from pgberth.database.session import reached
from pgberth.model import layout
from pgberth.model.problems import Problem
from pgberth.model.secret import Secret


@operation(is_idempotent=False)
def smoke(berth: Berth, receipt: Receipt, files: dict[str, str], drift: bool = False) -> Commands:
    """
    Every check that applies to the tenant passes; the problems are listed otherwise, one line each.

    + files: the configuration the server should have, name -> text
    + drift: compare the catalogue with a fresh run's too
    """
    if not state.is_executing:
        return
    seen = berth.look()
    server = Server.of(seen) if seen is not None else None
    if seen is None or seen.container is None or server is None:
        yield commands.refuse(not_answering(berth, seen))
        return
    tell(receipt, seen, server)
    password = berth.secret("app")
    with reached(berth.port) as address:
        fresh = baseline.read(berth, server) if drift else None
        subject = Subject(berth.tenant, seen, seen.container, server, address, password or Secret(""), files, fresh)
        receipt.results = run(subject)
    receipt.finished = datetime.now(UTC)
    lines = [f"{berth.tenant.name}: {r.id}: {problem}" for r in receipt.failed_checks for problem in r.problems]
    if lines:
        hint = f"{len(receipt.failed_checks)} of {len(receipt.results)} checks are red; runbooks/check-is-red.md"
        yield commands.refuse(*(Problem(line) for line in lines[:-1]), Problem(lines[-1], hint))


def tell(receipt: Receipt, seen: TenantState, server: Server) -> None:
    """Write down what was seen."""
    receipt.versions = {"postgres": server.version, "pgvector": server.vector}
    heads = [row for row in server.ledger if row["state"] == "applied" and row["kind"] == "versioned"]
    for row in heads:
        receipt.versions[row["component"]] = max(row["version"], receipt.versions.get(row["component"], ""))
    if seen.container is not None:
        receipt.image = seen.container.image.removeprefix("sha256:")[:12]


def pending(seen: TenantState, wanted: ContainerSpec) -> str:
    """What only a recycle would change, "" where nothing."""
    found = seen.container
    if found is None or not found.running or found.spec_hash == wanted.hash:
        return ""
    told = {"image": found.image, "port": seen.spec.get("port"), "profile": seen.spec.get("profile")}
    asked = {"image": wanted.image.id, "port": wanted.tenant.port, "profile": wanted.tenant.profile_name}
    differ = [f"{name} {told[name]} -> {asked[name]}" for name in asked if told[name] != asked[name]]
    return "; ".join(differ) or "flags or settings of this release"


def not_answering(berth: Berth, seen: TenantState | None) -> Problem:
    """Why a tenant could not be asked at all."""
    name = berth.tenant.name
    if seen is None or seen.ready is None:
        return Problem(f"{name}: its machine is not ready for tenants", "run deploy/provision.py without --limit")
    if seen.container is None:
        return Problem(f"{name}: it has no container", f"run deploy/provision.py --limit {name}")
    if not seen.container.running:
        fact = f"{name}: its container is {seen.container.status} (exit code {seen.container.exit_code})"
        return Problem(fact, f"run deploy/provision.py --limit {name}, which starts it")
    return Problem(f"{name}: its server does not answer: {seen.server_said}", "runbooks/server-does-not-start.md")


_KEEP = """set -eu; umask 077
mkdir -p "$1"; cat > "$1/.new"; sync "$1/.new"; mv "$1/.new" "$1/$2"
ls -1 "$1" | sort -r | tail -n +51 | while read -r old; do rm -f -- "$1/$old"; done
"""


@operation()
def receipt_kept(berth: Berth, receipt: Receipt) -> Commands:
    """Where the run changed something, its receipt lies beside the spec file; the last fifty are kept."""
    if not berth.changed:
        host.noop("nothing was changed, so there is nothing to keep a receipt of")
        return
    receipt.changed = True
    name = f"{receipt.started:%Y%m%dT%H%M%SZ}-{receipt.verb}.json"
    yield berth.change(_KEEP, layout.receipts(berth.tenant.name), name, stdin=receipt.to_json())
