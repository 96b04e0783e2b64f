"""
Operations: a tenant gets new passwords, and at every instant a stored one logs in.

The app has two login roles. The idle one gets the new password, the connection files name it, and the previous one
stays open until its clients are gone. The other roles are changed in place. A killed run is continued: a secret that is
already stored is the one that is set, and a previous login that the spec file still names is closed first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any

import gevent
import psycopg
from pyinfra import host as current_host
from pyinfra import state
from pyinfra.api import FunctionCommand, StringCommand

from pgberth import commands
from pgberth.commands import File, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.desired import SPEC_LOST
from pgberth.container.health_probe import plugin_watched
from pgberth.container.operations import create_secrets
from pgberth.container.plugin import password_renewed
from pgberth.database.login_probe import LoginProbe
from pgberth.database.operations import connection_files, has_password
from pgberth.database.problems import reported
from pgberth.database.session import connect, prove_login, reached
from pgberth.model import layout, scram
from pgberth.model.killpoint import killpoint
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import APP_LOGINS, MONITOR, PASSWORD_KINDS, SUPERUSER
from pgberth.model.secret import Secret
from pgberth.model.spec_file import SpecFile
from pgberth.rendering.sql import render

Steps = Iterator[StringCommand | FunctionCommand]

IN_PLACE = ("superuser", "monitor", "migrator")  # only pgberth logs in with them
# The server's own words; a refusal for another reason proves nothing.
_REFUSED = ("password authentication failed", "is not permitted to log in")


@guarded_operation(is_idempotent=False)
def app_rotated(context: TenantContext, drain: int) -> Steps:
    """
    The app logs in as its other role, with a new password. Its previous role is refused and has no session left.

    + drain: seconds to wait for the previous role's clients; then their sessions are ended
    """
    if not state.is_executing:
        return
    password, observed, receipt = context.secret("app"), context.observe(), context.receipt
    if observed.server is None or password is None:
        raise Refused([_not_answering(context)])
    if not observed.spec:  # only the spec file says which of the app's logins is the current one
        fact = f"{context.name}: ~/{layout.spec_file(context.name)} is missing, or is not understood"
        raise Refused.because(fact, f"nothing was changed; {SPEC_LOST.format(context.name)}")
    probe = LoginProbe(context.login, password)
    with probe.running(current_host, context.port), plugin_watched(context):
        if observed.spec.previous_login is None and _due(context, "app"):
            yield from _switch_login(context)
        yield from _publish(context, probe)
        yield from password_renewed(context)
        yield from _close_previous_login(context, drain)
    receipt.did = {"logins": probe.logins, "refused": len(probe.refused), **receipt.did}
    receipt.notes.append(
        "rotated: " + ", ".join(f"{count} {what}" for what, count in receipt.did.items() if isinstance(count, int))
    )
    if probe.refused:
        fact = f"{context.name}: {len(probe.refused)} logins were refused in the meantime: {probe.refused[0]}"
        raise Refused.because(fact, "the new password is in place; runbooks/rotate-passwords.md")


def _switch_login(context: TenantContext) -> Steps:
    """Up to where the spec file names the other role and its new password."""
    spec = context.observe().spec
    name = _next_name(spec, "app")
    [login] = [role for role in APP_LOGINS if role != spec.app_login]
    yield from _set(context, {login: name}, "app")
    secrets = {**spec.secret_names, "app": name}
    yield _write_spec(context, spec.updated({"secrets": secrets, "app_login": login, "former_login": spec.app_login}))
    killpoint("rotate.app.named")


def _publish(context: TenantContext, probe: LoginProbe) -> Steps:
    """The connection files hold what the spec file names, whichever run wrote that."""
    login, password, observed = context.login, context.secret("app"), context.observe()
    if password is None or not observed.ready:
        return
    files = connection_files(context.tenant, observed.spec, observed.home, password)
    place = layout.directory(context.name)
    yield context.write_files(*(File(f"{place}/{path}", text) for path, text in files.items()))
    probe.use(login, password)
    killpoint("rotate.app.published")


def _set(context: TenantContext, new: Mapping[str, str], step: str) -> Generator[Any, None, dict[str, Secret]]:
    """
    New secrets are stored, then the roles get them, then logins prove them.

    + new: role -> name of its new secret
    + step: for the names of the steps at which a test kills

    Returns role -> secret. Raises Refused where one cannot be read; then the server is unchanged.
    """
    yield from create_secrets(context, *new.values())
    killpoint(f"rotate.{step}.stored")
    stored = {role: context.stored(name) for role, name in new.items()}
    passwords = {role: password for role, password in stored.items() if password is not None}
    if unread := [name for role, name in new.items() if role not in passwords]:
        fact = f"{context.name}: the new secret {', '.join(unread)} cannot be read"
        raise Refused.because(fact, "nothing was changed on the server; runbooks/secret-missing.md")
    yield context.superuser(rotate_sql(passwords).reveal())
    killpoint(f"rotate.{step}.set")
    yield _function(context, partial(_prove, context, passwords))
    return passwords


def _close_previous_login(context: TenantContext, drain: int) -> Steps:
    """From waiting for the previous role's clients, to where nothing of its password is left."""
    spec = context.observe().spec
    previous = spec.previous_login
    if previous is None:
        return
    old = context.stored(layout.secret("app", spec.secret_version("app") - 1))
    yield _function(context, partial(_drain, context, previous, drain))
    yield context.superuser(rotate_sql({previous: None}).reveal())
    killpoint("rotate.app.closed")
    if old is not None:
        yield _function(context, partial(_prove_refused, context, {previous: old}))
    yield _write_spec(context, spec.without("former_login"))
    killpoint("rotate.app.forgotten")
    yield _keep_named(context, "app")


@guarded_operation(is_idempotent=False)
def roles_rotated(context: TenantContext) -> Steps:
    """
    Superuser, migrator and monitor have new passwords, and the old ones are refused.

    Their open sessions continue.
    """
    if not state.is_executing:
        return
    observed = context.observe()
    if observed.server is None:
        raise Refused([_not_answering(context)])
    kinds, spec = _due(context, *IN_PLACE), observed.spec
    old = {kind: context.secret(kind) for kind in kinds}
    new = {kind: _next_name(spec, kind) for kind in kinds}
    if new:
        yield from _set(context, _by_role(new), "roles")
        yield _write_spec(context, spec.updated({"secrets": {**spec.secret_names, **new}}))
    killpoint("rotate.roles.named")
    yield _function(context, partial(_prove_refused, context, _over_tcp(old)))
    yield _keep_named(context, *IN_PLACE)


def _by_role(names: Mapping[str, str]) -> dict[str, str]:
    """Role -> name of its secret, from kind of password -> name. Two roles have the migrator's."""
    return {role: names[kind] for role, kind in PASSWORD_KINDS.items() if kind in names}


def _over_tcp(passwords: Mapping[str, Secret | None]) -> dict[str, Secret]:
    """Role -> password, from kind -> password, of the roles that log in over TCP: there the superuser never does."""
    by_role = {role: passwords.get(kind) for role, kind in PASSWORD_KINDS.items() if role != SUPERUSER}
    return {role: password for role, password in by_role.items() if password is not None}


def _due(context: TenantContext, *kinds: str) -> list[str]:
    """The kinds that have a new password: all but those whose external source still gives the current one."""
    external = context.passwords
    kept = [kind for kind in kinds if kind in external and external[kind] == context.secret(kind)]
    context.receipt.notes += [
        f"password of {kind}: its source still gives the one in use, so it was not rotated" for kind in kept
    ]
    return [kind for kind in kinds if kind not in kept]


def rotate_sql(passwords: Mapping[str, Secret | None]) -> Secret:
    """The psql script that gives roles these passwords; with None, a role loses its login and its sessions."""
    verifiers = {role: scram.verifier(new).reveal() if new is not None else None for role, new in passwords.items()}
    return Secret(render("postgres/rotate.sql.j2", {"verifiers": verifiers}))


def _next_name(spec: SpecFile, kind: str) -> str:
    return layout.secret(kind, spec.secret_version(kind) + 1)


def _write_spec(context: TenantContext, spec: SpecFile) -> StringCommand:
    return context.write(layout.spec_file(context.name), spec.text())


def _keep_named(context: TenantContext, *kinds: str) -> StringCommand:
    """Of each kind only the secret that the spec file names is left."""
    names = context.observe().spec.secret_names
    script = commands.script("container/keep-secrets.sh")
    return context.change(script, layout.secrets(context.name), *(names[kind] for kind in kinds))


def _function(context: TenantContext, act: Callable[[], None]) -> FunctionCommand:
    return reported(context.tenant, act)


def _prove(context: TenantContext, passwords: Mapping[str, Secret]) -> None:
    """Raises Refused or psycopg.Error where a password is not its role's."""
    with reached(context.port) as address:
        for role, password in passwords.items():
            if role != SUPERUSER:
                prove_login(address, role, password)
    if SUPERUSER not in passwords:
        return
    # The superuser logs in over the socket only, which asks for no password.
    if not has_password(context.observe().server, SUPERUSER, passwords[SUPERUSER]):
        raise Refused.because(f"{SUPERUSER} does not have the password it was given", "run rotate again")


def _drain(context: TenantContext, previous: str, seconds: int) -> None:
    """Returns when the role has no session left, or the time is over."""
    deadline = time.monotonic() + seconds
    with reached(context.port) as address, connect(address, MONITOR, context.secret("monitor")) as session:
        while (left := _sessions(session, previous)) and time.monotonic() < deadline:
            gevent.sleep(0.2)
    context.receipt.did["old sessions ended"] = left


def _sessions(session: psycopg.Connection[Any], role: str) -> int:
    row = session.execute("SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = %s", [role]).fetchone()
    return int(row[0]) if row is not None else 0


def _prove_refused(context: TenantContext, old: Mapping[str, Secret]) -> None:
    """Raises Refused where an old password still logs in."""
    did = context.receipt.did
    with reached(context.port) as address:
        for role, password in old.items():
            try:
                connect(address, role, password).close()
            except psycopg.OperationalError as refused:
                if not any(words in str(refused) for words in _REFUSED):
                    raise
                did["old passwords refused"] = did.get("old passwords refused", 0) + 1
            else:
                raise Refused.because(f"{role} still logs in with its old password", "run rotate again")


def _not_answering(context: TenantContext) -> Problem:
    return Problem(
        f"{context.name}: its server does not answer, or the app's password is not stored: nothing was rotated",
        f"run deploy/provision.py --limit {context.name}, then rotate again",
    )
