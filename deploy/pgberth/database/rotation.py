"""
Verbs: a tenant's passwords are new ones, and at every instant a stored one logs in.

The app has two login roles: the idle one gets the new password, the connection files name it, and the former one stays
open until its clients have gone. The other roles are changed in place. What a killed run left is gone on with: a secret
already stored is the one that is set, and a former login that the spec file still names is retired first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import gevent
import psycopg
from pyinfra import host as current_host
from pyinfra import state
from pyinfra.api import FunctionCommand, StringCommand, operation

from pgberth import commands
from pgberth.commands import File
from pgberth.container.context import TenantContext
from pgberth.container.operations import SPEC_LOST, make_secrets
from pgberth.container.plugin import remade
from pgberth.database.client import LiveClient
from pgberth.database.operations import connection_files, has_password
from pgberth.database.probe import Server
from pgberth.database.problems import run_reporting_problems
from pgberth.database.session import connect, reached
from pgberth.model import layout, scram
from pgberth.model.killpoint import killpoint
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import APP_LOGINS, MONITOR, SECRETS, SUPERUSER
from pgberth.model.secret import Secret
from pgberth.rendering.sql import render

Steps = Iterator[StringCommand | FunctionCommand]

# Changed in place: nobody but us logs in with them.
IN_PLACE = ("superuser", "monitor", "migrator")
# The server's own words; a refusal for another reason proves nothing.
_REFUSED = ("password authentication failed", "is not permitted to log in")


@operation(is_idempotent=False)
def app_rotated(context: TenantContext, did: dict[str, Any], notes: list[str], drain: int) -> Any:
    """
    The app logs in as its other role, with a new password; its former role is refused, with no session left.

    + did: gets what was counted; notes: gets it in a line
    + drain: seconds that the former role's clients are waited for; then their sessions are ended
    """
    if not state.is_executing:
        return
    password, observed = context.secret("app"), context.observe()
    if observed is None or Server.of(observed) is None or password is None:
        yield commands.refuse(_not_answering(context))
        return
    if not observed.spec:  # which of the app's logins is the present one stands nowhere else
        fact = f"{context.tenant.name}: ~/{layout.spec_file(context.tenant.name)} is missing, or is not understood"
        yield commands.refuse(Problem(fact, f"nothing was changed; {SPEC_LOST.format(context.tenant.name)}"))
        return
    client = LiveClient(context.login, password)
    with client.at_work(current_host, context.port):
        if layout.previous_login(observed.spec) is None and _due(context, notes, "app"):
            yield from _moved(context)
        yield from _published(context, client)
        yield from remade(context)  # a container keeps the secret that it was made with
        yield from _previous_login_closed(context, did, drain)
    did |= {"logins": client.logins, "refused": len(client.refused)}
    notes.append("rotated: " + ", ".join(f"{count} {what}" for what, count in did.items()))
    if client.refused:
        fact = f"{context.tenant.name}: {len(client.refused)} logins were refused in the meantime: {client.refused[0]}"
        yield commands.refuse(Problem(fact, "the new password is in place; runbooks/rotate-passwords.md"))


def _moved(context: TenantContext) -> Steps:
    """Up to where the spec file names the other role and its new password."""
    spec = _spec(context)
    previous, name = layout.app_login(spec), _next_name(spec, "app")
    [login] = [role for role in APP_LOGINS if role != previous]
    if (yield from _set(context, {login: name}, "app")) is None:
        return
    named = {
        **spec,
        "secrets": {**layout.secret_names(spec), "app": name},
        "app_login": login,
        "former_login": previous,
    }
    yield _write_spec(context, named)
    killpoint("rotate.app.named")


def _published(context: TenantContext, client: LiveClient) -> Steps:
    """The connection files say what the spec file names, whoever wrote that."""
    login, password, observed = context.login, context.secret("app"), context.observe()
    if password is None or observed is None:
        return
    place, files = (
        layout.directory(context.tenant.name),
        connection_files(context.tenant, observed.spec, observed.home, password),
    )
    yield context.write_files(*(File(f"{place}/{path}", text) for path, text in files.items()))
    client.published(login, password)
    killpoint("rotate.app.published")


def _set(context: TenantContext, new: Mapping[str, str], what: str) -> Any:
    """
    New secrets are durable, then the roles have them, then logins have proven them.

    + new: role -> name of its new secret
    + what: for the names of the steps at which a test kills

    Returns role -> secret; None where one could not be read, and nothing was changed on the server then.
    """
    yield from make_secrets(context, *new.values())
    killpoint(f"rotate.{what}.stored")
    found = {role: context.stored(name) for role, name in new.items()}
    passwords = {role: password for role, password in found.items() if password is not None}
    if unread := [name for role, name in new.items() if role not in passwords]:
        fact = f"{context.tenant.name}: the new secret {', '.join(unread)} cannot be read"
        yield commands.refuse(Problem(fact, "nothing was changed on the server; runbooks/secret-missing.md"))
        return None
    yield context.superuser(rotate_sql(passwords).reveal())
    killpoint(f"rotate.{what}.set")
    yield _act(context, partial(_proven, context, passwords))
    return passwords


def _previous_login_closed(context: TenantContext, did: dict[str, Any], drain: int) -> Steps:
    """From where the former role's clients are waited for, to where nothing of its password is left."""
    spec = _spec(context)
    previous = layout.previous_login(spec)
    if previous is None:
        return
    old = context.stored(_previous_name(spec, "app"))
    yield _act(context, partial(_drained, context, previous, drain, did))
    yield context.superuser(rotate_sql({previous: None}).reveal())
    killpoint("rotate.app.closed")
    if old is not None:
        yield _act(context, partial(_old_refused, context, {previous: old}, did))
    yield _write_spec(context, {name: value for name, value in spec.items() if name != "former_login"})
    killpoint("rotate.app.forgotten")
    yield _only_named(context, "app")


@operation(is_idempotent=False)
def roles_rotated(context: TenantContext, did: dict[str, Any], notes: list[str]) -> Any:
    """
    Superuser, migrator and monitor have new passwords in place of the old ones, which are refused.

    Their open sessions go on.

    + did: gets what was counted; notes: gets what was left as it is
    """
    if not state.is_executing:
        return
    observed = context.observe()
    if observed is None or Server.of(observed) is None:
        yield commands.refuse(_not_answering(context))
        return
    kinds = _due(context, notes, *IN_PLACE)
    spec, old = _spec(context), {kind: context.secret(kind) for kind in kinds}
    new = {kind: _next_name(spec, kind) for kind in kinds}
    if new and (yield from _set(context, {SECRETS[kind]: name for kind, name in new.items()}, "roles")) is None:
        return
    if new:
        yield _write_spec(context, {**spec, "secrets": {**layout.secret_names(spec), **new}})
    killpoint("rotate.roles.named")
    # Over TCP the superuser is refused whatever it says.
    refused = {SECRETS[kind]: secret for kind, secret in old.items() if secret is not None and kind != "superuser"}
    yield _act(context, partial(_old_refused, context, refused, did))
    yield _only_named(context, *IN_PLACE)


def _due(context: TenantContext, notes: list[str], *kinds: str) -> list[str]:
    """The kinds that there is another password for: all but those whose source still gives the one in use."""
    kept = [kind for kind in kinds if kind in context.given and context.given[kind] == context.secret(kind)]
    notes += [f"password of {kind}: its source still gives the one in use, so it was not rotated" for kind in kept]
    return [kind for kind in kinds if kind not in kept]


def rotate_sql(passwords: Mapping[str, Secret | None]) -> Secret:
    """The psql script that gives roles these passwords; with none, a role loses its login and its sessions."""
    verifiers = {role: scram.verifier(new).reveal() if new is not None else None for role, new in passwords.items()}
    return Secret(render("postgres/rotate.sql.j2", {"verifiers": verifiers}))


def _spec(context: TenantContext) -> Mapping[str, Any]:
    observed = context.observe()
    return observed.spec if observed is not None else {}


def _next_name(spec: Mapping[str, Any], kind: str) -> str:
    return layout.secret(kind, layout.secret_version(spec, kind) + 1)


def _previous_name(spec: Mapping[str, Any], kind: str) -> str:
    return layout.secret(kind, layout.secret_version(spec, kind) - 1)


def _write_spec(context: TenantContext, spec: Mapping[str, Any]) -> StringCommand:
    return context.write(layout.spec_file(context.tenant.name), json.dumps(spec, indent=2, sort_keys=True) + "\n")


_ONLY = """set -eu; cd "$HOME/$1"; shift
for keep in "$@"; do
  for name in "${keep%-v*}"-v*; do [ "$name" = "$keep" ] || rm -f -- "$name"; done
done
sync .
"""


def _only_named(context: TenantContext, *kinds: str) -> StringCommand:
    """The one secret that the spec file names is left of each kind."""
    names = layout.secret_names(_spec(context))
    return context.change(_ONLY, f"{layout.directory(context.tenant.name)}/secrets", *(names[kind] for kind in kinds))


def _act(context: TenantContext, act: Callable[[], None]) -> FunctionCommand:
    return FunctionCommand(_acted, (context, act), {})


def _acted(state: Any, host: Any, context: TenantContext, act: Callable[[], None]) -> bool:  # noqa: ARG001  (pyinfra's form)
    return run_reporting_problems(host, context.tenant, act)


def _proven(context: TenantContext, passwords: Mapping[str, Secret]) -> None:
    """Raises Refused or psycopg.Error where a password is not its role's."""
    with reached(context.port) as address:
        for role, password in passwords.items():
            if role != SUPERUSER:
                connect(address, role, password).close()
    if SUPERUSER not in passwords:
        return
    # It comes in by the socket alone, where nobody is asked for a password.
    observed = context.observe()
    if not has_password(Server.of(observed) if observed is not None else None, SUPERUSER, passwords[SUPERUSER]):
        raise Refused.because(f"{SUPERUSER} has not the password it was given", "run rotate again")


def _drained(context: TenantContext, previous: str, drain: int, did: dict[str, Any]) -> None:
    """Returns when the role has no session left, or the time is up."""
    deadline = time.monotonic() + drain
    with reached(context.port) as address, connect(address, MONITOR, context.secret("monitor")) as session:
        while (left := _sessions(session, previous)) and time.monotonic() < deadline:
            gevent.sleep(0.2)
    did["old sessions ended"] = left


def _sessions(session: psycopg.Connection[Any], role: str) -> int:
    row = session.execute("SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = %s", [role]).fetchone()
    return int(row[0]) if row is not None else 0


def _old_refused(context: TenantContext, old: Mapping[str, Secret], did: dict[str, Any]) -> None:
    """Raises Refused where an old password still opens the door."""
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
        f"{context.tenant.name}: its server does not answer, or the app's password is not stored: nothing was rotated",
        f"run deploy/provision.py --limit {context.tenant.name}, then rotate again",
    )
