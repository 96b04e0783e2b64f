"""Verbs: a tenant's server has its configuration, roles and connection files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container.facts import Berth
from pgberth.container.state import TenantState
from pgberth.database.access import REPAIRABLE, access_sql
from pgberth.database.probe import Server
from pgberth.model import layout, scram
from pgberth.model.problems import Problem
from pgberth.model.roles import APP_LOGINS, SECRETS
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant
from pgberth.model.url import passfile_line, tenant_url, variable

# pg_reload_conf answers "true" to a file it cannot read, and keeps the old rules: so ask first.
_RELOAD = """
DO $$ DECLARE wrong text; BEGIN
  SELECT string_agg(format('line %s: %s', line_number, error), '; ') INTO wrong
    FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL;
  IF wrong IS NOT NULL THEN RAISE EXCEPTION 'pg_hba.conf is not understood: %', wrong; END IF;
END $$;
SELECT pg_catalog.pg_reload_conf() \\g /dev/null
"""


@operation()
def configuration_current(berth: Berth, files: Mapping[str, str]) -> Commands:
    """
    The files the server takes up on reload are the wanted ones.

    + files: name -> text
    """
    state = berth.look()
    if state is None or state.ready is None:
        return
    changed = {name: text for name, text in files.items() if state.files.get(f"etc/{name}") != _sha256(text)}
    for name, text in changed.items():
        yield berth.write(f"{layout.etc(berth.tenant.name)}/{name}", text)
    if changed and state.container is not None and state.container.running:
        yield berth.superuser(_RELOAD)


@operation()
def access_current(berth: Berth) -> Commands:
    """
    Roles, their passwords and settings, the database, pgvector and schema public are as wanted.

    What is off is named; it holds no data, so it is put right.
    """
    state = berth.look()
    if state is None or state.ready is None or state.container is None or not state.container.running:
        return
    tenant = berth.tenant
    server = Server.of(state)
    if server is None and not _is_new(state):
        fact = f"{tenant.name}: its server does not answer: {state.server_said}"
        yield commands.refuse(Problem(fact, "a lock or a crowd? runbooks/server-does-not-start.md"))
        return
    passwords = {role: berth.secret(kind) for kind, role in SECRETS.items()}
    missing = sorted(role for role, secret in passwords.items() if secret is None)
    if missing:
        yield commands.refuse(_no_secret(tenant, missing))
        return
    verifiers = {
        role: scram.verifier(secret)
        for role, secret in passwords.items()
        if secret is not None and not _has_password(server, role, secret)
    }
    wrong = [finding for finding in server.access if finding.kind in REPAIRABLE] if server else []
    if server is not None and not verifiers and not wrong and server.vector:
        return
    if server is not None:
        for finding in wrong:
            host.noop(f"repairing: {finding}")
        _say(tenant, [str(finding) for finding in wrong], verifiers)
    script = access_sql(tenant, verifiers)
    yield berth.superuser(script.reveal())


def _is_new(state: TenantState) -> bool:
    """The database, or the role that reads the ledger, is not there or not yet as it should be."""
    words = ("does not exist", "authentication failed", "is not permitted to log in", "no pg_hba.conf entry", "rejects")
    return any(word in state.server_said for word in words)


def _say(tenant: Tenant, wrong: list[str], verifiers: Mapping[str, Secret]) -> None:
    for line in [*wrong, *(f"password of {role} is not the stored one" for role in verifiers)]:
        host.log(f"{tenant.name}: repairing: {line}")


def _has_password(server: Server | None, role: str, secret: Secret) -> bool:
    stored = server.verifiers.get(role) if server is not None else None
    return stored is not None and scram.matches(secret, stored.salt, stored.iterations, stored.digest)


def _no_secret(tenant: Tenant, roles: list[str]) -> Problem:
    fact = f"{tenant.name}: no stored password for {', '.join(roles)}"
    return Problem(fact, f"is ~/{layout.directory(tenant.name)}/secrets readable? runbooks/secret-missing.md")


@operation()
def connection_files_published(berth: Berth) -> Commands:
    """The app's passfile and the file of connection URLs are there, 0600."""
    state = berth.look()
    if state is None or state.ready is None or state.container is None:
        return
    tenant = berth.tenant
    password = berth.secret("app")
    if password is None:
        yield commands.refuse(_no_secret(tenant, [APP_LOGINS[0]]))
        return
    for path, text in connection_files(tenant, berth.port, password).items():
        if state.files.get(path) != _sha256(text):
            yield berth.write(f"{layout.directory(tenant.name)}/{path}", text)


def connection_files(tenant: Tenant, port: int, password: Secret) -> dict[str, str]:
    """
    Name below the tenant's directory -> text.

    connection.env carries URLs with the password, for a client that reads its environment from a file; passfile is
    libpq's own form, so that a URL can do without.
    """
    urls = [
        f"{variable(component)}={tenant_url(port, component, password=password)}"
        for component in (None, *tenant.ordered_components)
    ]
    return {"passfile": passfile_line(port, password), "connection.env": "\n".join(urls) + "\n"}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
