"""Who may do what inside a tenant: the desired roles, as SQL that creates them and as SQL that checks them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pgberth.model.roles import APP, APP_LOGINS, DATABASE, LOGINS, MIGRATOR, MONITOR, OWNER
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant
from pgberth.model.url import EXTENSION_SCHEMA
from pgberth.rendering.sql import Sql, render

# What provision may repair without asking: none of it holds data.
REPAIRABLE = frozenset({"role", "member", "setting", "grant", "owner"})


@dataclass(frozen=True)
class Role:
    """+ login: None where the tenant's spec file says which of two roles logs in"""

    name: str
    login: bool | None
    connections: int  # at most; the roles share the profile's max_connections, less the superuser's reserve


@dataclass(frozen=True)
class Membership:
    """+ inherit: the member has the role's rights at once; otherwise it must SET ROLE."""

    role: str
    member: str
    inherit: bool


@dataclass(frozen=True)
class RoleSetting:
    role: str
    name: str
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        """As pg_db_role_setting stores it."""
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
    """The roles. The app's get all connections of the tenant's profile that the others leave."""
    others = sum(role.connections for role in ROLES if role.login and role.name not in APP_LOGINS)
    left = tenant.profile.clients - others
    return tuple(replace(role, connections=left) if role.name in APP_LOGINS else role for role in ROLES)


def settings(tenant: Tenant) -> tuple[RoleSetting, ...]:
    """
    What a login starts with. The app's search_path names pg_temp last: the server would search it first otherwise.

    Only the app has time limits: on the migrator they would end index builds. Every login, the operator's
    psql included, searches with the profile's settings. pgvector checks them when the session first uses it.
    """
    first = tenant.first_component
    for_app = (
        ("search_path", (first, EXTENSION_SCHEMA, "pg_temp")),
        ("statement_timeout", ("60s",)),
        ("lock_timeout", ("10s",)),
    )
    return (
        *(RoleSetting(login, name, words) for login in APP_LOGINS for name, words in for_app),
        RoleSetting(MIGRATOR, "search_path", ("pg_catalog", "pg_temp")),
        RoleSetting(MONITOR, "search_path", ("pg_catalog", "pg_temp")),
        *(RoleSetting(login, name, (value,)) for login in LOGINS for name, value in tenant.profile.search.items()),
    )


def access_sql(tenant: Tenant, verifiers: Mapping[str, Secret], app_logins: Collection[str] = APP_LOGINS[:1]) -> Secret:
    """
    The psql script that creates and corrects roles and rights.

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
        "comma": comma,
    }


def comma(loop: Any) -> Sql:
    """What stands between the items of a list in SQL."""
    return Sql("" if loop.last else ", ")
