"""The app logs in and gets its schemas; no other login succeeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial

from psycopg import errors

from pgberth.checks.context import Check, CheckContext, expect_refused, one, rolled_back_statement
from pgberth.model.roles import SUITE, SUPERUSER
from pgberth.model.secret import Secret
from pgberth.model.url import EXTENSION_SCHEMA, search_path

# The server's own words; a refusal for another reason (too many clients, starting up) proves nothing.
_WRONG_PASSWORD = "password authentication failed"  # noqa: S105
_NO_PASSWORD = ("no password supplied", _WRONG_PASSWORD)
_REJECTED = "pg_hba.conf rejects connection"
# Ways to the machine, to other servers, to objects of the app's own, to the owner's rights.
_OUT_OF_REACH = (
    "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'",  # a program that reads its input
    "COPY (SELECT 1) TO '/dev/null'",
    "SELECT pg_read_file('PG_VERSION')",
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION postgres_fdw",
    "CREATE EXTENSION plpython3u",
    "LOAD 'dblink'",
    "CREATE TABLE public.berth (a int)",
    "CREATE TEMPORARY TABLE berth (a int)",
    "CREATE SCHEMA berth",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, '')",
    "SET ROLE memory_owner",
    "SET session_replication_role = replica",
    # What others need, too: places in the table of locks, the disk of all tenants.
    "SELECT pg_advisory_lock(0)",
    "SELECT pg_try_advisory_lock(0, 0)",
    "SELECT pg_advisory_xact_lock_shared(0)",
    "SELECT pg_logical_emit_message(false, 'berth', 'text')",
    "SELECT pg_export_snapshot()",
    "SET temp_file_limit = -1",
)
# What the image does not contain is out of reach, too.
_NOT_THERE = (errors.FeatureNotSupported, errors.UndefinedFile)


def _ready(context: CheckContext) -> Iterator[str]:
    if one(context.client().cursor(), "SELECT 1") != 1:
        yield "SELECT 1 over TCP as the app is not 1"
    if context.server.in_recovery:
        yield "the server is in recovery"


def _search_path(context: CheckContext) -> Iterator[str]:
    first = context.tenant.first_component
    default = f"{first}, {EXTENSION_SCHEMA}, pg_temp"
    found = one(context.client().cursor(), "SHOW search_path")
    if found != default:
        yield f"the app's default search_path is {found!r}, wanted {default!r}"
    for component in context.tenant.ordered_components:
        cursor = context.app(component).cursor()
        # current_schemas omits schemas that do not exist; SHOW would print them.
        found = one(cursor, "SELECT current_schemas(false)")
        if tuple(found) != search_path(component):
            yield f"the {component} URL lands in {found}, wanted {list(search_path(component))}"


def _no_password(context: CheckContext) -> Iterator[str]:
    yield from _refused(context, SUITE, None, *_NO_PASSWORD)


def _wrong_password(context: CheckContext) -> Iterator[str]:
    yield from _refused(context, SUITE, Secret("not-the-password"), _WRONG_PASSWORD)


def _superuser(context: CheckContext) -> Iterator[str]:
    if context.tenant.superuser_tcp:
        yield from _refused(context, SUPERUSER, Secret("not-the-password"), _WRONG_PASSWORD)
        return
    for database in ("memory", "postgres"):
        yield from _refused(context, SUPERUSER, Secret("not-the-password"), _REJECTED, database=database)


def _refused(
    context: CheckContext, user: str, password: Secret | None, *reasons: str, database: str = "memory"
) -> Iterator[str]:
    credential = "no password" if password is None else "a password"
    return expect_refused(
        # No secret is sent here. A server that asks for no password is just what this looks for.
        lambda: context.connect(user, password, database=database, require_auth=None).close(),
        lambda error: any(reason in str(error) for reason in reasons),
        f"{user} with {credential} in {database}",
        f"{user} was let into {database} over TCP with {credential}",
    )


def _confined(context: CheckContext) -> Iterator[str]:
    connection = context.client()
    for statement in _OUT_OF_REACH:
        yield from expect_refused(
            partial(rolled_back_statement, connection, statement),
            lambda error: isinstance(error, (errors.InsufficientPrivilege, *_NOT_THERE)),
            repr(statement),
            f"{statement!r} went through as the app",
        )


def _rights(context: CheckContext) -> Iterator[str]:
    for finding in context.server.access:
        if finding.kind not in ("extension", "unexpected object"):
            yield str(finding)


def _hba(context: CheckContext) -> Iterator[str]:
    yield from (f"pg_hba.conf {error}" for error in context.server.hba_errors)
    desired = hashlib.sha256(context.files[context.hba].encode()).hexdigest()
    if context.server.hba_sha256 != desired:
        yield "pg_hba.conf is not the wanted one"
    elif context.server.hba_stale:
        yield "pg_hba.conf was written after the server read it"


CHECKS = (
    Check("ready", "the app logs in over TCP and gets an answer", _ready),
    Check("search-path", "each URL and the app's default give the wanted schemas", _search_path),
    Check("no-password", "no password: refused", _no_password),
    Check("wrong-password", "a wrong password: refused", _wrong_password),
    Check("superuser-tcp", "the superuser is refused over TCP", _superuser),
    Check("app-confined", "the app cannot leave its schemas", _confined),
    Check(
        "rights",
        "roles, memberships, role settings and grants are the wanted ones and no others",
        _rights,
        observed=True,
    ),
    Check("hba", "pg_hba.conf is ours, understood, and ends in reject", _hba, observed=True),
)
