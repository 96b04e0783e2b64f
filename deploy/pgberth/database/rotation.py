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
from pgberth.container.facts import Berth
from pgberth.container.operations import SPEC_LOST, make_secrets
from pgberth.container.plugin import remade
from pgberth.database.client import LiveClient
from pgberth.database.operations import connection_files, has_password
from pgberth.database.probe import Server
from pgberth.database.problems import told
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
def app_rotated(berth: Berth, did: dict[str, Any], notes: list[str], drain: int) -> Any:
    """
    The app logs in as its other role, with a new password; its former role is refused, with no session left.

    + did: gets what was counted; notes: gets it in a line
    + drain: seconds that the former role's clients are waited for; then their sessions are ended
    """
    if not state.is_executing:
        return
    password, seen = berth.secret("app"), berth.look()
    if seen is None or Server.of(seen) is None or password is None:
        yield commands.refuse(_not_answering(berth))
        return
    if not seen.spec:  # which of the app's logins is the present one stands nowhere else
        fact = f"{berth.tenant.name}: ~/{layout.spec_file(berth.tenant.name)} is missing, or is not understood"
        yield commands.refuse(Problem(fact, f"nothing was changed; {SPEC_LOST.format(berth.tenant.name)}"))
        return
    client = LiveClient(berth.login, password)
    with client.at_work(current_host, berth.port):
        if layout.former_login(seen.spec) is None and _due(berth, notes, "app"):
            yield from _moved(berth)
        yield from _published(berth, client)
        yield from remade(berth)  # a container keeps the secret that it was made with
        yield from _former_retired(berth, did, drain)
    did |= {"logins": client.logins, "refused": len(client.refused)}
    notes.append("rotated: " + ", ".join(f"{count} {what}" for what, count in did.items()))
    if client.refused:
        fact = f"{berth.tenant.name}: {len(client.refused)} logins were refused in the meantime: {client.refused[0]}"
        yield commands.refuse(Problem(fact, "the new password is in place; runbooks/rotate-passwords.md"))


def _moved(berth: Berth) -> Steps:
    """Up to where the spec file names the other role and its new password."""
    spec = _spec(berth)
    former, name = layout.app_login(spec), _next_name(spec, "app")
    [login] = [role for role in APP_LOGINS if role != former]
    if (yield from _set(berth, {login: name}, "app")) is None:
        return
    named = {**spec, "secrets": {**layout.secret_names(spec), "app": name}, "app_login": login, "former_login": former}
    yield _write_spec(berth, named)
    killpoint("rotate.app.named")


def _published(berth: Berth, client: LiveClient) -> Steps:
    """The connection files say what the spec file names, whoever wrote that."""
    login, password, seen = berth.login, berth.secret("app"), berth.look()
    if password is None or seen is None:
        return
    place, files = layout.directory(berth.tenant.name), connection_files(berth.tenant, seen.spec, seen.home, password)
    yield berth.write_files(*(File(f"{place}/{path}", text) for path, text in files.items()))
    client.published(login, password)
    killpoint("rotate.app.published")


def _set(berth: Berth, new: Mapping[str, str], what: str) -> Any:
    """
    New secrets are durable, then the roles have them, then logins have proven them.

    + new: role -> name of its new secret
    + what: for the names of the steps at which a test kills

    Returns role -> secret; None where one could not be read, and nothing was changed on the server then.
    """
    yield from make_secrets(berth, *new.values())
    killpoint(f"rotate.{what}.stored")
    found = {role: berth.stored(name) for role, name in new.items()}
    passwords = {role: password for role, password in found.items() if password is not None}
    if unread := [name for role, name in new.items() if role not in passwords]:
        fact = f"{berth.tenant.name}: the new secret {', '.join(unread)} cannot be read"
        yield commands.refuse(Problem(fact, "nothing was changed on the server; runbooks/secret-missing.md"))
        return None
    yield berth.superuser(rotate_sql(passwords).reveal())
    killpoint(f"rotate.{what}.set")
    yield _act(berth, partial(_proven, berth, passwords))
    return passwords


def _former_retired(berth: Berth, did: dict[str, Any], drain: int) -> Steps:
    """From where the former role's clients are waited for, to where nothing of its password is left."""
    spec = _spec(berth)
    former = layout.former_login(spec)
    if former is None:
        return
    old = berth.stored(_former_name(spec, "app"))
    yield _act(berth, partial(_drained, berth, former, drain, did))
    yield berth.superuser(rotate_sql({former: None}).reveal())
    killpoint("rotate.app.closed")
    if old is not None:
        yield _act(berth, partial(_old_refused, berth, {former: old}, did))
    yield _write_spec(berth, {name: value for name, value in spec.items() if name != "former_login"})
    killpoint("rotate.app.forgotten")
    yield _only_named(berth, "app")


@operation(is_idempotent=False)
def roles_rotated(berth: Berth, did: dict[str, Any], notes: list[str]) -> Any:
    """
    Superuser, migrator and monitor have new passwords in place of the old ones, which are refused.

    Their open sessions go on.

    + did: gets what was counted; notes: gets what was left as it is
    """
    if not state.is_executing:
        return
    seen = berth.look()
    if seen is None or Server.of(seen) is None:
        yield commands.refuse(_not_answering(berth))
        return
    kinds = _due(berth, notes, *IN_PLACE)
    spec, old = _spec(berth), {kind: berth.secret(kind) for kind in kinds}
    new = {kind: _next_name(spec, kind) for kind in kinds}
    if new and (yield from _set(berth, {SECRETS[kind]: name for kind, name in new.items()}, "roles")) is None:
        return
    if new:
        yield _write_spec(berth, {**spec, "secrets": {**layout.secret_names(spec), **new}})
    killpoint("rotate.roles.named")
    # Over TCP the superuser is refused whatever it says.
    refused = {SECRETS[kind]: secret for kind, secret in old.items() if secret is not None and kind != "superuser"}
    yield _act(berth, partial(_old_refused, berth, refused, did))
    yield _only_named(berth, *IN_PLACE)


def _due(berth: Berth, notes: list[str], *kinds: str) -> list[str]:
    """The kinds that there is another password for: all but those whose source still gives the one in use."""
    kept = [kind for kind in kinds if kind in berth.given and berth.given[kind] == berth.secret(kind)]
    notes += [f"password of {kind}: its source still gives the one in use, so it was not rotated" for kind in kept]
    return [kind for kind in kinds if kind not in kept]


def rotate_sql(passwords: Mapping[str, Secret | None]) -> Secret:
    """The psql script that gives roles these passwords; with none, a role loses its login and its sessions."""
    verifiers = {role: scram.verifier(new).reveal() if new is not None else None for role, new in passwords.items()}
    return Secret(render("postgres/rotate.sql.j2", {"verifiers": verifiers}))


def _spec(berth: Berth) -> Mapping[str, Any]:
    seen = berth.look()
    return seen.spec if seen is not None else {}


def _next_name(spec: Mapping[str, Any], kind: str) -> str:
    return layout.secret(kind, layout.secret_version(spec, kind) + 1)


def _former_name(spec: Mapping[str, Any], kind: str) -> str:
    return layout.secret(kind, layout.secret_version(spec, kind) - 1)


def _write_spec(berth: Berth, spec: Mapping[str, Any]) -> StringCommand:
    return berth.write(layout.spec_file(berth.tenant.name), json.dumps(spec, indent=2, sort_keys=True) + "\n")


_ONLY = """set -eu; cd "$HOME/$1"; shift
for keep in "$@"; do
  for name in "${keep%-v*}"-v*; do [ "$name" = "$keep" ] || rm -f -- "$name"; done
done
sync .
"""


def _only_named(berth: Berth, *kinds: str) -> StringCommand:
    """The one secret that the spec file names is left of each kind."""
    names = layout.secret_names(_spec(berth))
    return berth.change(_ONLY, f"{layout.directory(berth.tenant.name)}/secrets", *(names[kind] for kind in kinds))


def _act(berth: Berth, act: Callable[[], None]) -> FunctionCommand:
    return FunctionCommand(_acted, (berth, act), {})


def _acted(state: Any, host: Any, berth: Berth, act: Callable[[], None]) -> bool:  # noqa: ARG001  (pyinfra's form)
    return told(host, berth.tenant, act)


def _proven(berth: Berth, passwords: Mapping[str, Secret]) -> None:
    """Raises Refused or psycopg.Error where a password is not its role's."""
    with reached(berth.port) as address:
        for role, password in passwords.items():
            if role != SUPERUSER:
                connect(address, role, password).close()
    if SUPERUSER not in passwords:
        return
    # It comes in by the socket alone, where nobody is asked for a password.
    seen = berth.look()
    if not has_password(Server.of(seen) if seen is not None else None, SUPERUSER, passwords[SUPERUSER]):
        raise Refused.because(f"{SUPERUSER} has not the password it was given", "run rotate again")


def _drained(berth: Berth, former: str, drain: int, did: dict[str, Any]) -> None:
    """Returns when the role has no session left, or the time is up."""
    deadline = time.monotonic() + drain
    with reached(berth.port) as address, connect(address, MONITOR, berth.secret("monitor")) as session:
        while (left := _sessions(session, former)) and time.monotonic() < deadline:
            gevent.sleep(0.2)
    did["old sessions ended"] = left


def _sessions(session: psycopg.Connection[Any], role: str) -> int:
    row = session.execute("SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = %s", [role]).fetchone()
    return int(row[0]) if row is not None else 0


def _old_refused(berth: Berth, old: Mapping[str, Secret], did: dict[str, Any]) -> None:
    """Raises Refused where an old password still opens the door."""
    with reached(berth.port) as address:
        for role, password in old.items():
            try:
                connect(address, role, password).close()
            except psycopg.OperationalError as refused:
                if not any(words in str(refused) for words in _REFUSED):
                    raise
                did["old passwords refused"] = did.get("old passwords refused", 0) + 1
            else:
                raise Refused.because(f"{role} still logs in with its old password", "run rotate again")


def _not_answering(berth: Berth) -> Problem:
    return Problem(
        f"{berth.tenant.name}: its server does not answer, or the app's password is not stored: nothing was rotated",
        f"run deploy/provision.py --limit {berth.tenant.name}, then rotate again",
    )
