"""
The catalogue as a fresh run of the same versions makes it, kept beside the spec file: drift is measured against it.

It is made once after each migration, in a temporary database of the tenant's own server, and only by verify and status:
a deploy does not wait for it. It changes nothing of the tenant and does not count as a change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import psycopg
from pyinfra import host, logger, state

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.database.session import connect, reached, within
from pgberth.migrations.drift import Trait, compared_schemas, differences, snapshot
from pgberth.migrations.fresh import Action, rebuild
from pgberth.migrations.ledger import Connection, heads_of
from pgberth.migrations.operations import plan
from pgberth.migrations.session import RetryPolicy, locked
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.roles import DATABASE, FRESH, MIGRATOR
from pgberth.model.secret import Secret
from pgberth.model.server import Server
from pgberth.model.tenant import Tenant

_SECONDS = 60  # for each of: waiting for another verify, the schemas, one command; they take two together
_COMPARE_SECONDS = 20
_DROP = f"DROP DATABASE IF EXISTS {FRESH} WITH (FORCE);\n"


def place(tenant: Tenant) -> str:
    return f"{layout.directory(tenant.name)}/catalogue.json"


def key(server: Server) -> str:
    """What the baseline belongs to: the applied steps, and the server version that words their definitions."""
    applied = [(head.component, head.version, head.rendered_sha256, head.state) for head in heads_of(server.ledger)]
    return hashlib.sha256(json.dumps([applied, server.version, server.vector]).encode()).hexdigest()


def read(context: TenantContext, server: Server) -> tuple[Trait, ...] | None:
    """The kept baseline; None where there is none of these versions."""
    done, output = host.run_shell_command(commands.shell('cat "$1" 2>/dev/null', place(context.tenant), timeout=10))
    try:
        kept = json.loads(output.stdout) if done else {}
        return tuple(Trait(*row) for row in kept["traits"]) if kept.get("key") == key(server) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # another version's file, or half of one: it is made again


def drift(context: TenantContext, server: Server) -> list[str]:
    """What differs from the kept baseline, in words; nothing where there is none."""
    kept, password = read(context, server), context.secret("app")
    if kept is None or password is None or context.observe().foreign_data(context.name):
        return []
    with _sessions(context, _COMPARE_SECONDS) as open_session:
        try:
            session = open_session(context.login, password)
            return [str(found) for found in differences(kept, snapshot(session, compared_schemas(context.tenant)))]
        except psycopg.Error as error:
            # An exception inside an operation would end the run for every tenant.
            return [f"the catalogue could not be compared: {error.diag.message_primary or error}".strip()]


@guarded_operation(is_idempotent=False)
def baseline_known(context: TenantContext, actions: Mapping[str, Action]) -> Commands:
    """
    The catalogue of a fresh run of what is applied is known; drift is measured against it.

    It yields nothing: nothing of the tenant changes. The check that has nothing to compare with reports what failed.

    + actions: name of a code step -> what it does
    """
    yield from ()
    server = context.observe().server if state.is_executing else None
    if server is None or read(context, server) is not None or not _history_holds(context.tenant, server):
        return
    changed = context.changed
    try:
        context.require_own_data()
        _make_one_at_a_time(context, server, actions)
    except Refused as refused:
        context.receipt.no_baseline = "; ".join(problem.fact for problem in refused.problems)
    except psycopg.Error as error:
        context.receipt.no_baseline = f"{error.diag.message_primary or error}".strip()
    context.changed = changed


def _history_holds(tenant: Tenant, server: Server) -> bool:
    """Whether these files can be run at all; where not, the ledger's own check says why."""
    try:
        for component in tenant.ordered_components:
            plan(tenant, component, server)
    except Refused:
        return False
    return True


def _make_one_at_a_time(context: TenantContext, server: Server, actions: Mapping[str, Action]) -> None:
    """A second run waits, and finds the baseline made. Raises Refused or psycopg.Error."""
    with _sessions(context, 3 * _SECONDS) as open_session:
        waiting = open_session(MIGRATOR, context.secret("migrator"))
        with locked(waiting, FRESH, RetryPolicy(lock_seconds=_SECONDS)):
            if read(context, server) is None:
                _make(context, server, actions)


def _make(context: TenantContext, server: Server, actions: Mapping[str, Action]) -> None:
    context.run(context.superuser(commands.script("postgres/fresh-database.sql"), _SECONDS))
    with _sessions(context, _SECONDS) as open_session:
        password = context.secret("migrator")
        traits = _fresh(context.tenant, server, actions, lambda: open_session(MIGRATOR, password, FRESH))
    context.run(context.superuser(_DROP, _SECONDS))
    text = json.dumps({"key": key(server), "traits": [[t.kind, t.object, t.trait, t.value] for t in traits]})
    context.run(context.write(place(context.tenant), text + "\n"))
    logger.debug("%s: %d traits in the baseline", context.name, len(traits))


def _fresh(
    tenant: Tenant, server: Server, actions: Mapping[str, Action], open_session: Callable[[], Connection]
) -> tuple[Trait, ...]:
    for component in tenant.ordered_components:
        rebuild(open_session, component, heads_of(server.ledger), actions=actions)
    with open_session() as session:
        return snapshot(session, compared_schemas(tenant))


@contextmanager
def _sessions(context: TenantContext, seconds: float) -> Iterator[Callable[..., Connection]]:
    """Opens sessions (role, password, database); all of them end when the time is over."""
    opened: list[Connection] = []
    with reached(context.port) as address, within(seconds, lambda: opened):

        def open_session(role: str, password: Secret | None, database: str = DATABASE) -> Connection:
            opened.append(connect(address, role, password, database=database))
            return opened[-1]

        try:
            yield open_session
        finally:
            for session in opened:
                session.close()
