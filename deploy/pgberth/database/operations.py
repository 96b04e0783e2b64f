"""Verbs: a tenant's server has its configuration, roles and connection files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands, File
from pgberth.container.context import TenantContext
from pgberth.container.operations import desired_spec
from pgberth.container.spec import ContainerSpec
from pgberth.container.state import TenantState
from pgberth.database.access import REPAIRABLE, access_sql
from pgberth.database.probe import Server, desired_logins
from pgberth.database.settings import OURS, desired_settings, setting_drift
from pgberth.model import layout, scram
from pgberth.model.problems import Problem
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant
from pgberth.model.url import LOOPBACK, passfile_line, tenant_url, trusted, variable

# pg_reload_conf answers "true" to a file it cannot read, and keeps the old rules: so ask first.
RELOAD = """
DO $$ DECLARE wrong text; BEGIN
  SELECT string_agg(format('line %s: %s', line_number, error), '; ') INTO wrong
    FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL;
  IF wrong IS NOT NULL THEN RAISE EXCEPTION 'pg_hba.conf is not understood: %', wrong; END IF;
END $$;
SELECT pg_catalog.pg_reload_conf() \\g /dev/null
"""


@operation()
def configuration_current(context: TenantContext, files: Mapping[str, str], restart: Mapping[str, str]) -> Commands:
    """
    The server's files are the wanted ones, and it runs with those that it takes up on reload.

    + files: name -> text of what the server takes up on reload
    + restart: of what only a new container takes up; put back where the running one was made with these, and edited
    """
    state = context.observe()
    if state is None or state.machine_profile is None:
        return
    kept = made_with(context.tenant, state, restart)
    desired = {**files, **kept}
    changed = {name: text for name, text in desired.items() if not is_current(state, name, text)}
    behind = [] if changed else [*_behind(state, kept), *_unread(state)]
    edited = [name for name in changed if f"etc/{name}" in state.files]
    _say(context.tenant, [*(f"{name} is not the wanted one" for name in edited), *behind])
    if changed:
        etc = layout.etc(context.tenant.name)
        yield context.write_files(*(File(f"{etc}/{name}", text, f"0{mode(name)}") for name, text in changed.items()))
    if state.container is not None and state.container.running and (changed or behind):
        yield context.superuser(RELOAD)


def made_with(tenant: Tenant, state: TenantState, restart: Mapping[str, str]) -> Mapping[str, str]:
    """
    Of this configuration, what the container that runs was made with, so that the files on disk should be it.

    Nothing where it was made with another.
    """
    desired, found = desired_spec(tenant, state, restart), state.container
    if not isinstance(desired, ContainerSpec) or found is None or not found.running or found.spec_hash != desired.hash:
        return {}
    return desired.files


def is_current(state: TenantState, name: str, text: str) -> bool:
    """Whether a file of the configuration is this text, and its owner's alone."""
    path = f"etc/{name}"
    return state.files.get(path) == digest(text) and state.modes.get(path, mode(name)) == mode(name)


def mode(name: str) -> str:
    return "700" if name.endswith(".sh") else "600"


def _behind(state: TenantState, kept: Mapping[str, str]) -> list[str]:
    """What a reload would change, though the file is right. What ALTER SYSTEM did is access's to undo."""
    server = Server.of(state)
    if server is None or OURS not in kept:
        return []
    found = setting_drift(desired_settings(kept[OURS]), server.settings)
    return [str(setting) for setting in found if not setting.needs_restart and setting.source in ("", OURS)]


def _unread(state: TenantState) -> list[str]:
    """Whoever wrote it may have been killed before the server was told to read it."""
    server = Server.of(state)
    return ["pg_hba.conf was written after the server read it"] if server is not None and server.hba_stale else []


@operation()
def access_current(context: TenantContext) -> Commands:
    """
    Roles, their passwords and settings, the database, pgvector and schema public are as wanted.

    What is off is named; it holds no data, so it is put right.
    """
    state = context.observe()
    if state is None or state.machine_profile is None or state.container is None or not state.container.running:
        return
    tenant = context.tenant
    server = Server.of(state)
    if server is None and not _is_new(state):
        fact = f"{tenant.name}: its server does not answer: {state.server_said}"
        yield commands.refuse(Problem(fact, "a lock or a crowd? runbooks/server-does-not-start.md"))
        return
    passwords = {role: context.secret(kind) for kind, role in layout.secret_roles(state.spec).items()}
    missing = sorted(role for role, secret in passwords.items() if secret is None)
    if missing:
        yield commands.refuse(_no_secret(tenant, missing))
        return
    verifiers = {
        role: scram.verifier(secret)
        for role, secret in passwords.items()
        if secret is not None and not has_password(server, role, secret)
    }
    wrong = [finding for finding in server.access if finding.kind in REPAIRABLE] if server else []
    if server is not None and not verifiers and not wrong and server.vector:
        return
    if server is not None:
        for finding in wrong:
            host.noop(f"repairing: {finding}")
        _say(tenant, [*map(str, wrong), *(f"password of {role} is not the stored one" for role in verifiers)])
    script = access_sql(tenant, verifiers, desired_logins(state.spec))
    yield context.superuser(script.reveal())


def _is_new(state: TenantState) -> bool:
    """The database, or the role that reads the ledger, is not there or not yet as it should be."""
    words = ("does not exist", "authentication failed", "is not permitted to log in", "no pg_hba.conf entry", "rejects")
    return any(word in state.server_said for word in words)


def _say(tenant: Tenant, wrong: list[str]) -> None:
    for line in wrong:
        host.log(f"{tenant.name}: repairing: {line}")


def has_password(server: Server | None, role: str, secret: Secret) -> bool:
    """Whether the server's verifier of the role is that of this password."""
    stored = server.verifiers.get(role) if server is not None else None
    return stored is not None and scram.matches(secret, stored.salt, stored.iterations, stored.digest)


def _no_secret(tenant: Tenant, roles: list[str]) -> Problem:
    fact = f"{tenant.name}: no stored password for {', '.join(roles)}"
    return Problem(fact, f"is ~/{layout.directory(tenant.name)}/secrets readable? runbooks/secret-missing.md")


@operation()
def connection_files_published(context: TenantContext) -> Commands:
    """The app's passfile and the file of connection URLs are there, 0600."""
    yield from published(context)


def published(context: TenantContext) -> Commands:
    """What is left to do until a client that looks finds the server where it is. See `connection_files_published`."""
    state = context.observe()
    if state is None or state.machine_profile is None or state.container is None:
        return
    tenant = context.tenant
    password = context.secret("app")
    if password is None:
        yield commands.refuse(_no_secret(tenant, [layout.app_login(state.spec)]))
        return
    wrong = []
    for path, text in connection_files(tenant, state.spec, state.home, password).items():
        found = state.modes.get(path, "600")
        if state.files.get(path) != digest(text) or found != "600":
            what = "is not the wanted one" if found == "600" else f"has mode 0{found}, wanted 0600"
            _say(tenant, [f"{path} {what}"] if path in state.files else [])
            wrong.append(File(f"{layout.directory(tenant.name)}/{path}", text))
    if wrong:
        yield context.write_files(*wrong)


def connection_files(tenant: Tenant, spec: Mapping[str, Any], home: str, password: Secret) -> dict[str, str]:
    """
    Name below the tenant's directory -> text, for the server that runs and the role that the app logs in as.

    + spec: the spec file's body; home: of the service account

    connection.env carries URLs with the password, for a client that reads its environment from a file; passfile is
    libpq's own form, so that a URL can do without.
    """
    login, port = layout.app_login(spec), int(spec.get("port", tenant.port))
    place = trusted(spec, home, tenant.name)
    urls = [
        f"{variable(component)}={tenant_url(port, component, password=password, user=login, **place)}"
        for component in (None, *tenant.ordered_components)
    ]
    line = passfile_line(port, password, login, place.get("host", LOOPBACK))
    return {"passfile": line, "connection.env": "\n".join(urls) + "\n"}


def digest(text: str) -> str:
    """As a look at the tenant tells a file's content."""
    return hashlib.sha256(text.encode()).hexdigest()
