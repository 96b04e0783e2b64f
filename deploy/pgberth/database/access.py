"""Who may do what inside a tenant: the wanted roles, rendered as SQL that makes them and SQL that judges them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pgberth.model.roles import APP, APP_LOGINS, DATABASE, MIGRATOR, MONITOR, OWNER
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant
from pgberth.model.url import EXTENSION_SCHEMA
from pgberth.rendering.sql import Sql, render

# What provision may put right without asking: none of it holds data.
REPAIRABLE = frozenset({"role", "member", "setting", "grant", "owner"})


@dataclass(frozen=True)
class Role:
    """+ login: None where the tenant's spec file tells which of two logs in"""

    name: str
    login: bool | None
    connections: int  # at most; the profile's max_connections less the superuser's reserve is shared out


@dataclass(frozen=True)
class Membership:
    """+ inherit: the member has the rights as its own; otherwise it has to SET ROLE."""

    role: str
    member: str
    inherit: bool


@dataclass(frozen=True)
class Setting:
    role: str
    name: str
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        """As pg_db_role_setting holds it."""
        return f"{self.name}={', '.join(self.words)}"


# The connections are those of the small profile.
ROLES = (
    Role(OWNER, login=False, connections=0),
    Role(APP, login=False, connections=0),
    Role(MIGRATOR, login=True, connections=3),
    Role(APP_LOGINS[0], login=None, connections=15),
    Role(APP_LOGINS[1], login=None, connections=15),
    Role(MONITOR, login=True, connections=2),
)
MEMBERSHIPS = (
    Membership(OWNER, MIGRATOR, inherit=False),
    Membership(APP, APP_LOGINS[0], inherit=True),
    Membership(APP, APP_LOGINS[1], inherit=True),
    Membership("pg_monitor", MONITOR, inherit=True),
)


def roles(tenant: Tenant) -> tuple[Role, ...]:
    """The roles, the app's with all the connections that the tenant's profile has and the others leave."""
    others = sum(role.connections for role in ROLES if role.login and role.name not in APP_LOGINS)
    left = tenant.profile.clients - others
    return tuple(replace(role, connections=left) if role.name in APP_LOGINS else role for role in ROLES)


def settings(tenant: Tenant) -> tuple[Setting, ...]:
    """
    What a login starts with. The app's path names pg_temp last: unnamed, it would be searched first.

    Time limits are the app's alone: on the migrator they would end index builds.
    """
    first = tenant.first_component
    for_app = (
        ("search_path", (first, EXTENSION_SCHEMA, "pg_temp")),
        ("statement_timeout", ("60s",)),
        ("lock_timeout", ("10s",)),
    )
    return (
        *(Setting(login, name, words) for login in APP_LOGINS for name, words in for_app),
        Setting(MIGRATOR, "search_path", ("pg_catalog", "pg_temp")),
        Setting(MONITOR, "search_path", ("pg_catalog", "pg_temp")),
    )


def access_sql(tenant: Tenant, verifiers: Mapping[str, Secret], app_logins: Collection[str] = APP_LOGINS[:1]) -> Secret:
    """
    The psql script that makes access so.

    + verifiers: role -> SCRAM verifier, for the roles whose password is to change
    + app_logins: which of the app's login roles may log in
    """
    revealed = {role: verifier.reveal() for role, verifier in verifiers.items()}
    chosen = [one if one.login is not None else replace(one, login=one.name in app_logins) for one in roles(tenant)]
    return Secret(render("postgres/access.sql.j2", {**_values(tenant), "roles": chosen, "verifiers": revealed}))


def access_verify_sql(tenant: Tenant) -> str:
    """One SELECT (kind, object, problem): no row where access is in order."""
    return render("postgres/access.verify.sql.j2", _values(tenant))


def _values(tenant: Tenant) -> dict[str, Any]:
    return {
        "roles": roles(tenant),
        "memberships": MEMBERSHIPS,
        "settings": settings(tenant),
        "database": DATABASE,
        "owner": OWNER,
        "migrator": MIGRATOR,
        "app": APP,
        "monitor": MONITOR,
        "comma": _comma,
    }


def _comma(loop: Any) -> Sql:
    return Sql("" if loop.last else ", ")
