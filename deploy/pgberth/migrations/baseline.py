"""
The catalogue as a fresh run of the same versions makes it, kept beside the spec file: what drift is measured against.

Made once after each migration, in a database of the tenant's own server that comes and goes, and only by the verbs
that look: a deploy does not wait for it. It is no change of the tenant, and counts as none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import psycopg
from pyinfra import host, logger, state
from pyinfra.api import StringCommand, operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.database.probe import Server
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
from pgberth.model.tenant import Tenant
from pgberth.report.receipt import Receipt

# As the superuser on the socket; the database is empty but for pgvector, like a tenant's before its first migration.
_EMPTY = f"""SET search_path = pg_catalog, pg_temp;
DROP DATABASE IF EXISTS {FRESH} WITH (FORCE);
CREATE DATABASE {FRESH} TEMPLATE template0 OWNER memory_owner;
REVOKE ALL ON DATABASE {FRESH} FROM PUBLIC;
GRANT CONNECT ON DATABASE {FRESH} TO memory_migrator;
\\connect {FRESH}
CREATE EXTENSION vector SCHEMA public;
ALTER SCHEMA public OWNER TO postgres;
ALTER DEFAULT PRIVILEGES FOR ROLE memory_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
"""
_SECONDS = 60  # for each of: waiting for another verify, the schemas, one command; they take two together
_COMPARE_SECONDS = 20
_DROP = f"DROP DATABASE IF EXISTS {FRESH} WITH (FORCE);\n"


def place(tenant: Tenant) -> str:
    return f"{layout.directory(tenant.name)}/catalogue.json"


def key(server: Server) -> str:
    """What the baseline is of: the applied steps, and the server that words their definitions."""
    applied = [(head.component, head.version, head.rendered_sha256, head.state) for head in heads_of(server.ledger)]
    return hashlib.sha256(json.dumps([applied, server.version, server.vector]).encode()).hexdigest()


def read(context: TenantContext, server: Server) -> tuple[Trait, ...] | None:
    """The kept baseline; None where there is none of these versions."""
    done, output = host.run_shell_command(commands.shell('cat "$1" 2>/dev/null', place(context.tenant), timeout=10))
    try:
        kept = json.loads(output.stdout) if done else {}
        return tuple(Trait(*row) for row in kept["traits"]) if kept.get("key") == key(server) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # another version's file, or half of one: made anew


def drift(context: TenantContext, server: Server) -> list[str]:
    """What differs from the kept baseline, in words; nothing where there is none."""
    kept, password = read(context, server), context.secret("app")
    if kept is None or password is None:
        return []
    with _sessions(context, _COMPARE_SECONDS) as connected:
        try:
            session = connected(context.login, password)
            return [str(found) for found in differences(kept, snapshot(session, compared_schemas(context.tenant)))]
        except psycopg.Error as error:
            # An exception inside an operation would end the run for every tenant.
            return [f"the catalogue could not be compared: {error.diag.message_primary or error}".strip()]


@operation(is_idempotent=False)
def baseline_known(context: TenantContext, actions: Mapping[str, Action], receipt: Receipt) -> Commands:
    """
    The catalogue of a fresh run of what is applied is at hand; drift is measured against it.

    It yields nothing, whatever it does: nothing of the tenant changes. What stood in its way is told by the check that
    has nothing to compare with.

    + actions: what each step of code does, by its name
    """
    yield from ()
    observed = context.observe() if state.is_executing else None
    server = Server.of(observed) if observed is not None else None
    if observed is None or observed.container is None or server is None or read(context, server) is not None:
        return
    if not _history_holds(context.tenant, server):
        return
    changed = context.changed
    try:
        _make_one_at_a_time(context, server, actions)
    except Refused as refused:
        receipt.no_baseline = "; ".join(problem.fact for problem in refused.problems)
    except psycopg.Error as error:
        receipt.no_baseline = f"{error.diag.message_primary or error}".strip()
    context.changed = changed


def _history_holds(tenant: Tenant, server: Server) -> bool:
    """Whether these files can be run afresh at all; where not, the ledger's own check says why."""
    try:
        for component in tenant.ordered_components:
            plan(tenant, component, server)
    except Refused:
        return False
    return True


def _make_one_at_a_time(context: TenantContext, server: Server, actions: Mapping[str, Action]) -> None:
    """Whoever comes second waits, and finds it made. Raises Refused or psycopg.Error."""
    with _sessions(context, 3 * _SECONDS) as connected:
        # The app's session: the migrator has three, and may need them all.
        waiting = connected(context.login, context.secret("app"))
        with locked(waiting, FRESH, RetryPolicy(lock_seconds=_SECONDS)):
            if read(context, server) is None:
                _make(context, server, actions)


def _make(context: TenantContext, server: Server, actions: Mapping[str, Action]) -> None:
    _do(context.superuser(_EMPTY, _SECONDS))
    with _sessions(context, _SECONDS) as connected:
        traits = _fresh(context.tenant, server, actions, lambda: connected(MIGRATOR, context.secret("migrator"), FRESH))
    _do(context.superuser(_DROP, _SECONDS))
    text = json.dumps({"key": key(server), "traits": [[t.kind, t.object, t.trait, t.value] for t in traits]})
    _do(context.write(place(context.tenant), text + "\n"))
    logger.debug("%s: %d traits in the baseline", context.tenant.name, len(traits))


def _fresh(
    tenant: Tenant, server: Server, actions: Mapping[str, Action], connected: Callable[[], Connection]
) -> tuple[Trait, ...]:
    for component in tenant.ordered_components:
        rebuild(connected, component, heads_of(server.ledger), actions=actions)
    with connected() as session:
        return snapshot(session, compared_schemas(tenant))


def _do(command: StringCommand) -> None:
    """Now, and past pyinfra's count of changes. Raises Refused with the command's own words, less its HINT."""
    done, output = host.run_shell_command(command, **command.connector_arguments)
    if not done:
        said = [line for line in output.stderr_lines if not line.startswith("HINT: ")]
        raise Refused.because(" ".join(said) or "a command failed and did not say why")


@contextmanager
def _sessions(context: TenantContext, seconds: float) -> Iterator[Callable[..., Connection]]:
    """Makes sessions (role, password, database) that are hung up together when time is up."""
    opened: list[Connection] = []
    with reached(context.port) as address, within(seconds, lambda: opened):

        def connected(role: str, password: Secret | None, database: str = DATABASE) -> Connection:
            opened.append(connect(address, role, password, database=database))
            return opened[-1]

        try:
            yield connected
        finally:
            for session in opened:
                session.close()
