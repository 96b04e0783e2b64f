"""Who may do what inside a tenant: the desired roles, as SQL that creates them and as SQL that checks them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pgberth.model import connections
from pgberth.model.roles import APP, APP_LOGINS, DATABASE, LOGINS, MIGRATOR, MONITOR, OWNER, SUITE
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
    connections: int = 0  # at most


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


ROLES = (
    Role(OWNER, login=False),
    Role(APP, login=False),
    *(Role(name, login=True, connections=number) for name, number in connections.OWN.items()),
    *(Role(name, login=None) for name in APP_LOGINS),
)
# A server that 0.1.0 started has fewer connections until it is recycled. The app leaves it what pgberth uses at once.
_AT_WORK = 5
MEMBERSHIPS = (
    Membership(OWNER, MIGRATOR, inherit=False),
    Membership(APP, APP_LOGINS[0], inherit=True),
    Membership(APP, APP_LOGINS[1], inherit=True),
    Membership(APP, SUITE, inherit=True),
    Membership("pg_monitor", MONITOR, inherit=True),
    *(Membership("pg_use_reserved_connections", name, inherit=True) for name in connections.OWN),
)
# Functions of the server that everybody may call, and that use up what is not the caller's own: large objects stand
# outside every schema; each advisory lock takes a place in the server's table of locks, and when that is full, not even
# the superuser logs in; the last ones make a file for each call, and write to the WAL without a table.
CLOSED_FUNCTIONS = (
    "lo_creat",
    "lo_create",
    "lo_from_bytea",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "pg_export_snapshot",
    "pg_logical_emit_message",
)


def roles(tenant: Tenant) -> tuple[Role, ...]:
    """The roles, with the tenant's own limit for the app's."""
    app = tenant.connections.app
    return tuple(replace(role, connections=app) if role.name in APP_LOGINS else role for role in ROLES)


def settings(tenant: Tenant) -> tuple[RoleSetting, ...]:
    """
    What a login starts with. The app's search_path names pg_temp last: the server would search it first otherwise.

    Only the app has time limits: on the migrator they would end index builds and bulk loads. The suite has what the app
    has, or its checks would prove nothing. Every login, the operator's psql included, searches with the profile's
    settings; pgvector checks them when the session first uses it.
    """
    first = tenant.first_component
    for_app = (
        ("search_path", (first, EXTENSION_SCHEMA, "pg_temp")),
        ("statement_timeout", ("60s",)),
        ("lock_timeout", ("10s",)),
        ("temp_file_limit", (tenant.profile.temp_files,)),
    )
    for_migrator = (
        ("search_path", ("pg_catalog", "pg_temp")),
        ("statement_timeout", ("0",)),
        ("idle_in_transaction_session_timeout", ("15min",)),
    )
    return (
        *(RoleSetting(login, name, words) for login in (*APP_LOGINS, SUITE) for name, words in for_app),
        *(RoleSetting(MIGRATOR, name, words) for name, words in for_migrator),
        RoleSetting(MONITOR, "search_path", ("pg_catalog", "pg_temp")),
        RoleSetting(MONITOR, "temp_file_limit", (tenant.profile.temp_files,)),
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
        "suite": SUITE,
        "app_logins": APP_LOGINS,
        "at_work": _AT_WORK,
        "closed_functions": CLOSED_FUNCTIONS,
        "comma": comma,
    }


def comma(loop: Any) -> Sql:
    """What stands between the items of a list in SQL."""
    return Sql("" if loop.last else ", ")
