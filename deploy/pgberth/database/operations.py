"""Operations: a tenant's server has its configuration, roles and connection files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from pyinfra import host

from pgberth import commands
from pgberth.commands import Commands, File, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.desired import spec_or_none
from pgberth.container.launch import etc_files, file_mode
from pgberth.container.state import TenantState
from pgberth.database.access import REPAIRABLE, access_sql
from pgberth.database.settings import OURS, desired_settings, setting_drift
from pgberth.model import layout, scram
from pgberth.model.problems import Problem, Refused
from pgberth.model.secret import Secret
from pgberth.model.server import Server
from pgberth.model.spec_file import SpecFile
from pgberth.model.tenant import Tenant
from pgberth.model.url import LOOPBACK, passfile_line, tenant_url, trusted, variable
from pgberth.rendering.configuration import reload_files
from pgberth.rendering.environment_file import environment_file


@guarded_operation()
def configuration_current(context: TenantContext) -> Commands:
    """
    The server's files are the desired ones, and it runs with those that it reads on reload.

    A file that only a new container reads is restored if the running container was created with that text; otherwise
    it waits for a recycle.
    """
    yield from repair_configuration(context)


def repair_configuration(context: TenantContext) -> Commands:
    """What is missing until the server's files are the desired ones, and are read."""
    observed = context.observe()
    if not observed.ready:
        return
    kept = files_of_the_container(context)
    desired = {**reload_files(context.tenant), **kept}
    changed = {name: text for name, text in desired.items() if not is_current(observed, name, text)}
    behind = [] if changed else [*_settings_behind(observed, kept), *_unread(observed)]
    edited = [name for name in changed if f"etc/{name}" in observed.files]
    _log_repairs(context.name, [*(f"{name} is not the wanted one" for name in edited), *behind])
    if changed:
        yield context.write_files(*etc_files(context.name, changed))
    if observed.running and (changed or behind):
        yield context.superuser(reload_sql())


def reload_sql() -> str:
    """The psql script that lets the server read its files again. It fails where pg_hba.conf is not understood."""
    return commands.script("postgres/reload.sql")


def files_of_the_container(context: TenantContext) -> Mapping[str, str]:
    """
    The files that only a new container reads, name -> text, if the running one was created with exactly these.

    Empty if it was created with others, or does not run.
    """
    desired, container = spec_or_none(context), context.observe().container
    if desired is None or container is None or not container.running or container.spec_hash != desired.hash:
        return {}
    return desired.files


def is_current(observed: TenantState, name: str, text: str) -> bool:
    """Whether a file of the configuration is this text, and only its owner may read it."""
    path = f"etc/{name}"
    return observed.files.get(path) == digest(text) and observed.modes.get(path, file_mode(name)) == file_mode(name)


def _settings_behind(observed: TenantState, kept: Mapping[str, str]) -> list[str]:
    """What a reload would change, though the file is right. access_current undoes ALTER SYSTEM."""
    if observed.server is None or OURS not in kept:
        return []
    drift = setting_drift(desired_settings(kept[OURS]), observed.server.settings)
    return [str(setting) for setting in drift if not setting.needs_restart and setting.source in ("", OURS)]


def _unread(observed: TenantState) -> list[str]:
    """A run may have been killed between writing the file and the reload."""
    stale = observed.server is not None and observed.server.hba_stale
    return ["pg_hba.conf was written after the server read it"] if stale else []


@guarded_operation()
def access_current(context: TenantContext) -> Commands:
    """
    Roles, their passwords and settings, the database, pgvector and schema public are the desired ones.

    What differs is logged and repaired: it holds no data.
    """
    yield from repair_access(context)


def repair_access(context: TenantContext) -> Commands:
    """What is missing until access is the desired one. Raises Refused without a password, or without an answer."""
    observed = context.observe()
    if not observed.ready or not observed.running:
        return
    server = observed.server
    if server is None and not _is_new(observed):
        raise Refused([context.not_answering()])
    verifiers = _missing_verifiers(context, server)
    wrong = [finding for finding in server.access if finding.kind in REPAIRABLE] if server else []
    if server is not None and not verifiers and not wrong and server.vector:
        return
    if server is not None:
        for finding in wrong:
            host.noop(f"repairing: {finding}")
        outdated = (f"password of {role} is not the stored one" for role in verifiers)
        _log_repairs(context.name, [*map(str, wrong), *outdated])
    yield context.superuser(access_sql(context.tenant, verifiers, observed.spec.open_logins).reveal())


def _missing_verifiers(context: TenantContext, server: Server | None) -> dict[str, Secret]:
    """Role -> verifier of its stored password, where the server has another. Raises Refused without a password."""
    secrets = {role: context.secret(kind) for role, kind in context.observe().spec.password_kinds.items()}
    if missing := sorted(role for role, secret in secrets.items() if secret is None):
        raise Refused([_no_secret(context.name, missing)])
    passwords = {role: secret for role, secret in secrets.items() if secret is not None}
    return {
        role: scram.verifier(secret) for role, secret in passwords.items() if not has_password(server, role, secret)
    }


def _is_new(observed: TenantState) -> bool:
    """Whether the database, or the role that reads the ledger, does not exist yet or is not complete."""
    words = ("does not exist", "authentication failed", "is not permitted to log in", "no pg_hba.conf entry", "rejects")
    return any(word in observed.server_error for word in words)


def _log_repairs(tenant: str, wrong: Iterable[str]) -> None:
    for line in wrong:
        host.log(f"{tenant}: repairing: {line}")


def has_password(server: Server | None, role: str, secret: Secret) -> bool:
    """Whether the server's verifier of the role is that of this password."""
    stored = server.verifiers.get(role) if server is not None else None
    return stored is not None and scram.matches(secret, stored.salt, stored.iterations, stored.digest)


def _no_secret(tenant: str, roles: Iterable[str]) -> Problem:
    fact = f"{tenant}: no stored password for {', '.join(roles)}"
    return Problem(fact, f"is ~/{layout.secrets(tenant)} readable? runbooks/secret-missing.md")


@guarded_operation()
def connection_files_published(context: TenantContext) -> Commands:
    """The app's passfile and the file of connection URLs exist, with mode 0600."""
    yield from publish(context)


def publish(context: TenantContext) -> Commands:
    """What is missing until a client that reads the files finds the server. Raises Refused without a password."""
    observed = context.observe()
    if not observed.ready or observed.container is None:
        return
    password = context.secret("app")
    if password is None:
        raise Refused([_no_secret(context.name, [context.login])])
    outdated = []
    for path, text in connection_files(context.tenant, observed.spec, observed.home, password).items():
        found = observed.modes.get(path, "600")
        if observed.files.get(path) != digest(text) or found != "600":
            fault = "is not the wanted one" if found == "600" else f"has mode 0{found}, wanted 0600"
            _log_repairs(context.name, [f"{path} {fault}"] if path in observed.files else [])
            outdated.append(File(f"{layout.directory(context.name)}/{path}", text))
    if outdated:
        yield context.write_files(*outdated)


def connection_files(tenant: Tenant, spec: SpecFile, home: str, password: Secret) -> dict[str, str]:
    """
    Name below the tenant's directory -> text, for the running server and the role that the app logs in as.

    + home: of the service account

    connection.env holds URLs with the password, for a client that reads its environment from a file. passfile is
    libpq's own form, so that a URL needs no password.
    """
    login, port = spec.app_login, spec.port or tenant.port
    place = trusted(spec.listening, home, tenant.name)
    urls = {
        variable(component): tenant_url(port, component, password=password, user=login, **place)
        for component in (None, *tenant.ordered_components)
    }
    line = passfile_line(port, password, login, place.get("host", LOOPBACK))
    return {"passfile": line, "connection.env": environment_file(urls)}


def digest(text: str) -> str:
    """A file's content as an observation reports it."""
    return hashlib.sha256(text.encode()).hexdigest()
