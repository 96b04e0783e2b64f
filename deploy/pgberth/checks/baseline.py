"""
The catalogue as a fresh run of the same versions makes it, kept beside the spec file: what drift is measured against.

Made once after each migration, in a database of the tenant's own server that comes and goes, and only by the verbs
that look: a deploy does not wait for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import psycopg
from pyinfra import host, logger, state
from pyinfra.api import FunctionCommand, operation

from pgberth import commands
from pgberth.container.facts import Berth
from pgberth.database.probe import Server
from pgberth.database.session import connect, reached
from pgberth.migrations.drift import Trait, differences, snapshot
from pgberth.migrations.fresh import Action, rebuild
from pgberth.migrations.ledger import SCHEMA, heads_of
from pgberth.migrations.operations import plan, told
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.roles import APP_LOGINS, MIGRATOR, REHEARSAL
from pgberth.model.tenant import Tenant

# As the superuser on the socket; the database is empty but for pgvector, like a tenant's before its first migration.
_EMPTY = f"""SET search_path = pg_catalog, pg_temp;
DROP DATABASE IF EXISTS {REHEARSAL} WITH (FORCE);
CREATE DATABASE {REHEARSAL} TEMPLATE template0 OWNER memory_owner;
REVOKE ALL ON DATABASE {REHEARSAL} FROM PUBLIC;
GRANT CONNECT ON DATABASE {REHEARSAL} TO memory_migrator;
\\connect {REHEARSAL}
CREATE EXTENSION vector SCHEMA public;
ALTER SCHEMA public OWNER TO postgres;
ALTER DEFAULT PRIVILEGES FOR ROLE memory_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
"""
_DROP = f"DROP DATABASE IF EXISTS {REHEARSAL} WITH (FORCE);\n"


def place(tenant: Tenant) -> str:
    return f"{layout.directory(tenant.name)}/catalogue.json"


def compared(tenant: Tenant) -> tuple[str, ...]:
    """The schemas drift is looked for in: the tenant's components', and the ledger's."""
    return (*tenant.ordered_components, SCHEMA)


def key(server: Server) -> str:
    """What the baseline is of: the applied steps, and the server that words their definitions."""
    applied = [(head.component, head.version, head.rendered_sha256, head.state) for head in heads_of(server.ledger)]
    return hashlib.sha256(json.dumps([applied, server.version, server.vector]).encode()).hexdigest()


def read(berth: Berth, server: Server) -> tuple[Trait, ...] | None:
    """The kept baseline; None where there is none of these versions."""
    done, output = host.run_shell_command(commands.shell('cat "$1" 2>/dev/null', place(berth.tenant), timeout=10))
    try:
        kept = json.loads(output.stdout) if done else {}
        return tuple(Trait(*row) for row in kept["traits"]) if kept.get("key") == key(server) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # another version's file, or half of one: made anew


def drift(berth: Berth, server: Server) -> list[str]:
    """What differs from the kept baseline, in words; nothing where there is none."""
    kept, password = read(berth, server), berth.secret("app")
    if kept is None or password is None:
        return []
    try:
        with reached(berth.port) as address, connect(address, APP_LOGINS[0], password) as session:
            return [str(found) for found in differences(kept, snapshot(session, compared(berth.tenant)))]
    except psycopg.Error as error:
        # An exception inside an operation would end the run for every tenant.
        return [f"the catalogue could not be compared: {error.diag.message_primary or error}".strip()]


@operation(is_idempotent=False)
def baseline_known(berth: Berth, actions: Mapping[str, Action]) -> Any:
    """
    The catalogue of a fresh run of what is applied is at hand; drift is measured against it.

    + actions: what each step of code does, by its name
    """
    seen = berth.look() if state.is_executing else None
    server = Server.of(seen) if seen is not None else None
    if seen is None or seen.container is None or server is None or read(berth, server) is not None:
        return
    if not _history_holds(berth.tenant, server):
        return
    yield berth.superuser(_EMPTY)
    made: list[Trait] = []
    yield FunctionCommand(_make, (berth, server, actions, made), {})
    yield berth.superuser(_DROP)
    text = json.dumps({"key": key(server), "traits": [[t.kind, t.object, t.trait, t.value] for t in made]})
    yield berth.write(place(berth.tenant), text + "\n")


def _history_holds(tenant: Tenant, server: Server) -> bool:
    """Whether these files can be run afresh at all; where not, the ledger's own check says why."""
    try:
        for component in tenant.ordered_components:
            plan(tenant, component, server)
    except Refused:
        return False
    return True


def _make(
    state: Any,  # noqa: ARG001
    host: Any,
    berth: Berth,
    server: Server,
    actions: Mapping[str, Action],
    made: list[Trait],
) -> bool:
    tenant, password = berth.tenant, berth.secret("migrator")

    def act() -> None:
        with reached(berth.port) as address:
            for component in tenant.ordered_components:
                rebuild(
                    lambda: connect(address, MIGRATOR, password, database=REHEARSAL),
                    component,
                    heads_of(server.ledger),
                    actions=actions,
                )
            with connect(address, MIGRATOR, password, database=REHEARSAL) as session:
                made.extend(snapshot(session, compared(tenant)))
        logger.debug("%s: %d traits in the baseline", tenant.name, len(made))

    return told(host, tenant, act)
