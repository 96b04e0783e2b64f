"""Roles and rights: the script that makes them so and the query that judges them, run by a real server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from pgberth.database.access import MEMBERSHIPS, REPAIRABLE, ROLES, access_sql, access_verify_sql, roles, settings
from pgberth.model import scram
from pgberth.model.connections import SILENT
from pgberth.model.profile import PROFILES
from pgberth.model.roles import APP_LOGINS, PASSWORD_KINDS
from pgberth.model.secret import Secret
from pgberth.model.server import AccessFinding
from tests.fake_host import password_in
from tests.postgres import Server, running_server
from tests.sample import ACME

PASSWORDS = {role: password_in(f"{kind}-v1") for role, kind in PASSWORD_KINDS.items()}
VERIFIERS = {role: scram.verifier(password) for role, password in PASSWORDS.items()}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    """A cluster of this module's own, as initdb leaves it, with access put in order: the script owns all of it."""
    with running_server(18) as server:
        run(server, access_sql(ACME, VERIFIERS))
        yield server


@pytest.fixture
def ordered(cluster: Server) -> Iterator[Server]:
    """The cluster with access in order, and put in order again behind a test that leaves it otherwise."""
    yield cluster
    run(cluster, access_sql(ACME, VERIFIERS))


def run(server: Server, script: Secret) -> None:
    """As the product does: psql, as the superuser, connected to postgres, the script on stdin."""
    command = [
        str(server.bin / "psql"),
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        server.conninfo("postgres", "postgres"),
        "-f",
        "-",
    ]
    done = subprocess.run(command, input=script.reveal(), capture_output=True, text=True, check=False)
    # psql is silent unless the server has something to say; a notice would be printed at every deploy.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def findings(server: Server) -> list[str]:
    with server.connect(dbname="memory") as session:
        return findings_in(session)


def findings_in(session: psycopg.Connection) -> list[str]:
    rows = session.execute(access_verify_sql(ACME).encode()).fetchall()
    return sorted(str(AccessFinding(*row)) for row in rows)


def globals_of(server: Server) -> str:
    """Every role, password, membership and setting of the cluster, as SQL."""
    command = [str(server.bin / "pg_dumpall"), "--globals-only", "-d", server.conninfo("postgres", "postgres")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"^(--|\\(un)?restrict).*\n", "", told, flags=re.MULTILINE)


def test_the_script_makes_access_so_from_nothing(cluster: Server) -> None:
    assert findings(cluster) == []
    with cluster.connect(dbname="memory") as session:
        names = [row[0] for row in session.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'").fetchall()]
    assert sorted(names) == sorted(["postgres", *(role.name for role in ROLES)])


def test_the_script_run_again_changes_nothing(ordered: Server) -> None:
    before = globals_of(ordered)
    run(ordered, access_sql(ACME, {}))
    run(ordered, access_sql(ACME, VERIFIERS))
    assert globals_of(ordered) == before
    assert findings(ordered) == []


def test_the_script_holds_verifiers_and_never_a_password() -> None:
    script = access_sql(ACME, VERIFIERS)
    for role, password in PASSWORDS.items():
        assert password.reveal() not in script.reveal()
        assert f"""ALTER ROLE "{role}" PASSWORD 'SCRAM-SHA-256$4096:""" in script.reveal()
    assert str(script) == repr(script) == "***"


def test_the_script_leaves_the_passwords_alone_that_are_the_stored_ones() -> None:
    assert " PASSWORD " not in access_sql(ACME, {}).reveal()
    one = {"memory_app_a": VERIFIERS["memory_app_a"]}
    assert access_sql(ACME, one).reveal().count(" PASSWORD ") == 1


def test_a_failing_statement_would_not_be_logged_with_the_verifier_in_it() -> None:
    script = access_sql(ACME, VERIFIERS).reveal()
    guard = script.index("SET LOCAL log_min_error_statement = 'panic'")
    assert script.index("SET LOCAL log_statement = 'none'") < script.index("PASSWORD")
    assert script.index("BEGIN;") < guard < script.index("PASSWORD") < script.index("COMMIT;")


@pytest.mark.parametrize("role", ["memory_app_a", "memory_migrator", "memory_monitor"])
def test_the_stored_password_logs_in_and_another_does_not(cluster: Server, role: str) -> None:
    way = f"host=127.0.0.1 port={cluster.port} dbname=memory user={role}"
    psycopg.connect(way, password=PASSWORDS[role].reveal()).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(way, password="another")


@pytest.mark.parametrize("role", ["memory_app_b", "memory_owner", "memory_app"])
def test_a_role_that_is_not_to_log_in_cannot(ordered: Server, role: str) -> None:
    with ordered.connect() as session:
        session.execute(f"ALTER ROLE \"{role}\" PASSWORD 'known'".encode())
    with pytest.raises(psycopg.OperationalError, match="is not permitted to log in"):
        psycopg.connect(f"host=127.0.0.1 port={ordered.port} dbname=memory user={role} password=known")


def test_a_new_password_replaces_the_former(ordered: Server) -> None:
    run(ordered, access_sql(ACME, {"memory_app_a": scram.verifier(Secret("newer"))}))
    way = f"host=127.0.0.1 port={ordered.port} dbname=memory user=memory_app_a"
    psycopg.connect(way, password="newer").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(way, password=PASSWORDS["memory_app_a"].reveal())


# What somebody did by hand -> what the query says of it. The database is `memory` in each.
DRIFT: dict[str, tuple[str, list[str]]] = {
    "large objects for everybody": (
        "GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC",
        ["grant function lo_create(oid) has EXECUTE for PUBLIC, not wanted"],
    ),
    "large objects for the app": (
        "GRANT EXECUTE ON FUNCTION lo_from_bytea(oid, bytea) TO memory_app WITH GRANT OPTION",
        ["grant function lo_from_bytea(oid,bytea) has EXECUTE for memory_app, not wanted"],
    ),
    "a superuser": ("ALTER ROLE memory_app SUPERUSER", ["role memory_app has an attribute it should not have"]),
    "may make databases": ("ALTER ROLE memory_app_a CREATEDB", ["role memory_app_a has an attribute it"]),
    "may make roles": ("ALTER ROLE memory_migrator CREATEROLE", ["role memory_migrator has an attribute it"]),
    "may replicate": ("ALTER ROLE memory_monitor REPLICATION", ["role memory_monitor has an attribute it"]),
    "past row security": ("ALTER ROLE memory_app_a BYPASSRLS", ["role memory_app_a has an attribute it"]),
    "the owner logs in": ("ALTER ROLE memory_owner LOGIN", ["role memory_owner can log in"]),
    "no connection limit": ("ALTER ROLE memory_app_a CONNECTION LIMIT -1", ["connection limit -1, wanted 26"]),
    "the app owns": ("GRANT memory_owner TO memory_app", ["member memory_app of memory_owner is not wanted"]),
    "the app reads all": ("GRANT pg_read_all_data TO memory_app_a", ["of pg_read_all_data is not wanted"]),
    "a membership gone": ("REVOKE memory_app FROM memory_app_a", ["member memory_app_a of memory_app is missing"]),
    "the migrator inherits": (
        "GRANT memory_owner TO memory_migrator WITH INHERIT TRUE",
        ["member memory_migrator of memory_owner has other options than wanted"],
    ),
    "the app may pass it on": (
        "GRANT memory_app TO memory_app_a WITH ADMIN TRUE",
        ["member memory_app_a of memory_app has other options than wanted"],
    ),
    "another search_path": (
        "ALTER ROLE memory_app_a IN DATABASE memory SET search_path = public",
        [
            "setting memory_app_a in memory: search_path=memory_plugin, public, pg_temp is missing",
            "setting memory_app_a in memory: search_path=public is not wanted",
        ],
    ),
    "a setting everywhere": (
        "ALTER ROLE memory_app_a SET statement_timeout = 0",
        ["setting memory_app_a in every database: statement_timeout=0 is not wanted"],
    ),
    "a setting gone": (
        "ALTER ROLE memory_app_a IN DATABASE memory RESET lock_timeout",
        ["lock_timeout=10s is missing"],
    ),
    "weaker searches for the app": (
        "ALTER ROLE memory_app_a IN DATABASE memory SET hnsw.ef_search = 40",
        ["hnsw.ef_search=400 is missing", "setting memory_app_a in memory: hnsw.ef_search=40 is not wanted"],
    ),
    "no iterative scan for the login that waits": (
        "ALTER ROLE memory_app_b IN DATABASE memory RESET hnsw.iterative_scan",
        ["setting memory_app_b in memory: hnsw.iterative_scan=strict_order is missing"],
    ),
    "less memory for the migrator's searches": (
        "ALTER ROLE memory_migrator IN DATABASE memory RESET hnsw.scan_mem_multiplier",
        ["setting memory_migrator in memory: hnsw.scan_mem_multiplier=3 is missing"],
    ),
    "fewer rows for the monitor's searches": (
        "ALTER ROLE memory_monitor SET hnsw.max_scan_tuples = 100",
        ["setting memory_monitor in every database: hnsw.max_scan_tuples=100 is not wanted"],
    ),
    "no iterative scan for the operator": (
        "ALTER ROLE postgres IN DATABASE memory SET hnsw.iterative_scan = off",
        ["setting postgres in memory: hnsw.iterative_scan=strict_order is missing"],
    ),
    "a setting of the database": (
        "ALTER DATABASE memory SET search_path = pg_temp",
        ["setting everybody in memory: search_path=pg_temp is not wanted"],
    ),
    "a setting of everybody": (
        "ALTER ROLE ALL SET search_path = pg_temp",
        ["setting everybody in every database: search_path=pg_temp is not wanted"],
    ),
    "a setting of another database": (
        "ALTER DATABASE postgres SET work_mem = '1GB'",
        ["setting everybody in postgres: work_mem=1GB is not wanted"],
    ),
    "a setting of the superuser": (
        "ALTER ROLE postgres SET search_path = public",
        ["setting postgres in every database: search_path=public is not wanted"],
    ),
    "alter system": ("ALTER SYSTEM SET work_mem = '1GB'", ["setting ALTER SYSTEM work_mem is not wanted"]),
    "anybody makes tables": (
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        ["grant schema public has CREATE for PUBLIC, not wanted"],
    ),
    "the app makes schemas": (
        "GRANT CREATE ON DATABASE memory TO memory_app",
        ["grant database memory has CREATE for memory_app, not wanted"],
    ),
    "temporary tables": (
        "GRANT TEMPORARY ON DATABASE memory TO PUBLIC",
        ["grant database memory has TEMPORARY for PUBLIC, not wanted"],
    ),
    "the monitor shut out": (
        "REVOKE CONNECT ON DATABASE memory FROM memory_monitor",
        ["grant database memory lacks CONNECT for memory_monitor"],
    ),
    "public closed": (
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
        ["grant schema public lacks USAGE for PUBLIC"],
    ),
    "another owner": ("ALTER DATABASE memory OWNER TO postgres", ["owner database memory is postgres, wanted"]),
    "the migrator owns public": (
        "ALTER SCHEMA public OWNER TO memory_migrator",
        ["owner schema public is memory_migrator, wanted postgres"],
    ),
}


@pytest.mark.parametrize("what", sorted(set(DRIFT) - {"alter system"}))
def test_what_somebody_did_by_hand_is_named(cluster: Server, what: str) -> None:
    statement, desired = DRIFT[what]
    with cluster.connect(dbname="memory") as session, session.transaction(force_rollback=True):
        session.execute(statement.encode())
        found = findings_in(session)
    for line in desired:
        assert any(line in finding for finding in found), found
    assert all(finding.split()[0] in REPAIRABLE for finding in found)


def test_all_that_somebody_did_by_hand_is_undone_at_once(ordered: Server) -> None:
    with ordered.connect(dbname="memory") as session:
        for statement, _ in DRIFT.values():
            session.execute(statement.encode())
        session.execute("SELECT pg_reload_conf()")
    found = findings(ordered)
    assert len(found) > 20
    assert any(DRIFT["alter system"][1][0] in finding for finding in found)
    run(ordered, access_sql(ACME, {}))
    assert findings(ordered) == []


# What is named but never undone, since it may be somebody's: what does it, what is said of it, and how it is undone.
KEPT: dict[str, tuple[str, list[str], str]] = {
    "a role": (
        "CREATE ROLE intruder",
        ["unknown role intruder is not one of the tenant's roles"],
        "DROP ROLE intruder",
    ),
    "a role that reads all": (
        "CREATE ROLE intruder IN ROLE pg_read_all_data",
        ["unknown role intruder is not one of the", "unknown role intruder of pg_read_all_data is not wanted"],
        "DROP ROLE intruder",
    ),
    "a table": (
        "CREATE TABLE public.stray (a int)",
        ["unexpected object public.stray does not"],
        "DROP TABLE public.stray",
    ),
    "a function": (
        "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
        ["unexpected object public.lower() does not belong"],
        "DROP FUNCTION public.lower(text)",
    ),
    "a type": (
        "CREATE TYPE public.stray AS ENUM ('a')",
        ["unexpected object public.stray does not"],
        "DROP TYPE public.stray",
    ),
    "a schema in which the app creates": (
        "CREATE SCHEMA notes; GRANT CREATE ON SCHEMA notes TO memory_app",
        ["schema notes lets memory_app create", "schema notes lets memory_app_a create"],
        "DROP SCHEMA notes",
    ),
    "a schema": (
        "CREATE SCHEMA notes",
        ["unexpected object schema notes is none of the tenant's"],
        "DROP SCHEMA notes",
    ),
    "a large object": (
        "SELECT lo_create(4711)",
        ["unexpected object large object 4711 is not wanted; it is postgres's"],
        "SELECT lo_unlink(4711)",
    ),
    "a publication": ("CREATE PUBLICATION p", ["unexpected object publication p is not wanted"], "DROP PUBLICATION p"),
    "a way to other servers": (
        "CREATE FOREIGN DATA WRAPPER w",
        ["unexpected object foreign-data wrapper w is not wanted"],
        "DROP FOREIGN DATA WRAPPER w",
    ),
    "a trigger on every command": (
        "CREATE SCHEMA notes; CREATE FUNCTION notes.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        " CREATE EVENT TRIGGER everywhere ON ddl_command_end WHEN TAG IN ('COMMENT') EXECUTE FUNCTION notes.f()",
        ["unexpected object event trigger everywhere is not wanted"],
        "DROP EVENT TRIGGER everywhere; DROP SCHEMA notes CASCADE",
    ),
    "a parameter that the app may set": (
        "GRANT SET ON PARAMETER log_statement TO memory_app",
        ["unexpected object parameter log_statement may be set by others"],
        "REVOKE SET ON PARAMETER log_statement FROM memory_app",
    ),
    "rights on what comes": (
        "ALTER DEFAULT PRIVILEGES FOR ROLE memory_migrator GRANT ALL ON TABLES TO PUBLIC",
        ["unexpected object default rights of memory_migrator"],
        "ALTER DEFAULT PRIVILEGES FOR ROLE memory_migrator REVOKE ALL ON TABLES FROM PUBLIC",
    ),
    "pgvector elsewhere": (
        "CREATE SCHEMA elsewhere; ALTER EXTENSION vector SET SCHEMA elsewhere",
        ["extension vector is in schema elsewhere, wanted public"],
        "ALTER EXTENSION vector SET SCHEMA public; DROP SCHEMA elsewhere",
    ),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_may_be_somebodys_is_named_and_kept_and_no_deploy_claims_to_repair_it(cluster: Server, what: str) -> None:
    statement, desired, undo = KEPT[what]
    with cluster.connect(dbname="memory") as session:
        session.execute(statement.encode())
        try:
            before = findings(cluster)
            for line in desired:
                assert any(finding.startswith(line) for finding in before), before
            assert not {finding.split()[0] for finding in before} & REPAIRABLE
            run(cluster, access_sql(ACME, {}))
            assert findings(cluster) == before
        finally:
            session.execute(undo.encode())
    assert findings(cluster) == []


def test_a_strangers_hold_on_a_tenants_role_is_undone_and_the_stranger_kept(cluster: Server) -> None:
    with cluster.connect(dbname="memory") as session:
        session.execute("CREATE ROLE intruder IN ROLE memory_owner")
        try:
            assert "member intruder of memory_owner is not wanted" in findings(cluster)
            run(cluster, access_sql(ACME, {}))
            assert findings(cluster) == ["unknown role intruder is not one of the tenant's roles"]
        finally:
            session.execute("DROP ROLE intruder")


# What leads out of the tenant's schemas: to the machine, to other servers, or beside every right there is.
OUT_OF_REACH = (
    "COPY (SELECT 1) TO '/tmp/stolen'",
    "COPY pg_class FROM PROGRAM 'id'",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_stat_file('/etc/passwd')",
    "LOAD 'vector'",
    "CREATE FUNCTION public.f(cstring) RETURNS int LANGUAGE c AS 'libc', 'system'",
    "CREATE LANGUAGE plperlu HANDLER plpgsql_call_handler",
    "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p",
    "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/stolen')",
    "ALTER SYSTEM SET fsync = off",
    "SET session_replication_role = replica",
    "SELECT pg_reload_conf()",
)


def test_the_app_can_make_nothing_and_change_nobody(cluster: Server) -> None:
    password = PASSWORDS["memory_app_a"].reveal()
    way = f"host=127.0.0.1 port={cluster.port} dbname=memory user=memory_app_a password={password}"
    refused = [
        "CREATE TABLE public.t (a int)",
        "CREATE SCHEMA s",
        "CREATE TEMPORARY TABLE t (a int)",
        "SET ROLE memory_owner",
        "SET ROLE postgres",
        "ALTER ROLE memory_app_a SUPERUSER",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "DROP EXTENSION vector",
        *OUT_OF_REACH,
    ]
    with psycopg.connect(way, autocommit=True) as session:
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())
        assert session.execute("SHOW search_path").fetchone() == ("memory_plugin, public, pg_temp",)


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_the_app_reaches_no_other_database(cluster: Server, database: str) -> None:
    password = PASSWORDS["memory_app_a"].reveal()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(f"host=127.0.0.1 port={cluster.port} dbname={database} user=memory_app_a password={password}")


def test_the_search_path_leads_to_the_first_component_and_names_the_temporary_schema_last() -> None:
    two = replace(ACME, components={"knowledge": "head", "control_plane": "head"})
    paths = {setting.role: setting.words for setting in settings(two) if setting.name == "search_path"}
    assert paths["memory_app_a"] == paths["memory_app_b"] == ("knowledge", "public", "pg_temp")
    assert all(words[-1] == "pg_temp" for words in paths.values())


def test_time_limits_are_the_apps_alone() -> None:
    """The suite has them, too: its checks are those of a client. The migrator has none that ends a long statement."""
    limits = {(setting.role, setting.name): setting.words for setting in settings(ACME) if "_timeout" in setting.name}
    assert {role for role, name in limits if name == "lock_timeout"} == {"memory_app_a", "memory_app_b", "memory_suite"}
    assert limits["memory_migrator", "statement_timeout"] == ("0",)


def test_the_migrator_is_the_owners_only_member_and_has_to_say_so() -> None:
    assert [(grant.member, grant.inherit) for grant in MEMBERSHIPS if grant.role == "memory_owner"] == [
        ("memory_migrator", False)
    ]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_server_has_places_for_every_session_that_its_roles_may_open_and_more(profile: str) -> None:
    tenant = replace(ACME, profile_name=profile)
    lines = tenant.profile.lines()
    places = int(lines["max_connections"]) - int(lines["superuser_reserved_connections"])
    assert places - sum(role.connections for role in roles(tenant)) >= SILENT
    assert int(lines["reserved_connections"]) == sum(r.connections for r in roles(tenant) if r.name not in APP_LOGINS)
    assert tenant.connections.total <= tenant.profile.max_connections


@pytest.mark.parametrize("clients", [5, None])
def test_each_login_of_the_app_holds_the_clients_the_plugin_and_a_proof(clients: int | None) -> None:
    limits = {role.name: role.connections for role in roles(replace(ACME, clients=clients, plugin_pool=2))}
    assert limits["memory_app_a"] == limits["memory_app_b"] == (clients or 20) + 2 + 1


def test_a_server_of_an_earlier_release_keeps_places_for_pgberth_until_it_is_recycled() -> None:
    """0.1.0 started it with 23 connections, of which the app got 15; more would shut out the suite and the operator."""
    with running_server(18, {"max_connections": "23"}) as server:
        run(server, access_sql(ACME, VERIFIERS))
        assert findings(server) == []
        with server.connect() as session:
            limit = session.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'memory_app_a'").fetchone()
    assert limit == (15,)
