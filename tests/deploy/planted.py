"""What a hand may do to a tenant, as the superuser or with the run of the machine: verify names each of these."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.tenant import Tenant

Act = Callable[[Tenant], object]

_NEITHER_THE_APP_NOR_THE_SUITE_LOGS_IN = frozenset(
    {"durable", "app-confined", "ready", "search-path", "search-defaults", "task-history", "knowledge-history"}
    | {"memory-round-trip", "memory-index", "memory-metadata", "memory-namespace", "memory-dimension"}
)


@dataclass(frozen=True)
class Fault:
    """
    + plant: what somebody does
    + red: the checks that turn red, these and no others but `drift`, which compares everything with a fresh run
    + says: words of the line that names it
    + mended_by: the operation of provision that puts it right; mended: how it says so, where not as verify does
    + undo: what mends it by hand where provision has to keep its hands off
    """

    name: str
    plant: Act
    red: frozenset[str]
    says: str
    mended_by: str = ""
    mended: str = ""
    undo: Act | None = None


_ACCESS = "roles and rights are current"
_SCHEMA = "schemas are at their versions"
_CONFIGURATION = "configuration is current"


def _repaired(by: str, name: str, plant: Act | str, red: str | frozenset[str], says: str, mended: str = "") -> Fault:
    return Fault(name, _act(plant), _checks(red), says, mended_by=by, mended=mended or says)


def _left(name: str, plant: Act | str, red: str, says: str, undo: Act | str) -> Fault:
    return Fault(name, _act(plant), _checks(red), says, undo=_act(undo))


def _checks(red: str | frozenset[str]) -> frozenset[str]:
    return frozenset(red.split()) if isinstance(red, str) else red


def _act(what: Act | str) -> Act:
    return (lambda tenant: tenant.superuser(what)) if isinstance(what, str) else what


def _edited(path: Callable[[Tenant], Path], edit: Callable[[str], str]) -> Act:
    def act(tenant: Tenant) -> None:
        file = path(tenant)
        file.write_text(edit(file.read_text()))

    return act


def _file(path: str) -> Callable[[Tenant], Path]:
    return lambda tenant: tenant.directory / path


def _reloaded(act: Act) -> Act:
    def both(tenant: Tenant) -> None:
        act(tenant)
        tenant.superuser("SELECT pg_reload_conf(); SELECT pg_sleep(0.2)")

    return both


def _ran_with_another_file(tenant: Tenant) -> None:
    file = tenant.directory / "etc/postgresql.conf"
    before = file.read_text()
    file.write_text(before.replace("'ddl'", "'all'"))
    tenant.superuser("SELECT pg_reload_conf(); SELECT pg_sleep(0.2)")
    file.write_text(before)


def _hba(tenant: Tenant) -> Path:
    return tenant.directory / "etc/pg_hba.conf"


def _spec(tenant: Tenant) -> Path:
    return tenant.directory / "spec.json"


def _marker(tenant: Tenant) -> Path:
    volumes = tenant.account.home / ".local/share/containers/storage/volumes"
    return volumes / tenant.volume / "_data/pgberth.initialised"


def _everybody_trusted(tenant: Tenant) -> None:
    _edited(_hba, lambda text: "host all all all trust\n" + text)(tenant)
    tenant.superuser("SELECT pg_reload_conf()")


def _set(name: str, value: str) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), name: value})


def _softer_container(tenant: Tenant) -> None:
    """The same container by another hand: writable, with capabilities, and with more to see."""
    closed = ("--cap-drop=all", "--read-only", "--security-opt=no-new-privileges", "--label=pgberth.spec=")
    command = tenant.container()["Config"]["CreateCommand"][1:]  # without "podman", and with its own options
    own, arguments = command[: command.index("run") + 1], command[command.index("run") + 1 :]
    more = ["--label=pgberth.spec=by-hand", "--volume=/etc/hostname:/mnt/hostname:ro"]
    tenant.account.podman("rm", "--force", "--time", "10", tenant.name)
    tenant.account.podman(*own, *more, *(word for word in arguments if not word.startswith(closed)))
    tenant.wait_until_ready()


def _ledger_row(change: str) -> str:
    return (
        "ALTER TABLE memory_ledger.event DISABLE TRIGGER append_only;"
        f" UPDATE memory_ledger.event SET {change} WHERE component = 'memory_plugin' AND version = '0001';"
        " ALTER TABLE memory_ledger.event ENABLE ALWAYS TRIGGER append_only"
    )


_RECORDS = "memory_plugin.memory_records"

# What holds no data: provision names it and puts it right.
REPAIRED = (
    _repaired(
        _ACCESS,
        "the app may create in public",
        "GRANT CREATE ON SCHEMA public TO memory_app",
        "rights app-confined",
        "grant schema public has CREATE for memory_app, not wanted",
    ),
    _repaired(
        _ACCESS,
        "the app may make temporary tables",
        "GRANT TEMPORARY ON DATABASE memory TO memory_app",
        "rights app-confined",
        "grant database memory has TEMPORARY for memory_app, not wanted",
    ),
    _repaired(
        _ACCESS,
        "the app may not connect",
        "REVOKE CONNECT ON DATABASE memory FROM memory_app",
        _NEITHER_THE_APP_NOR_THE_SUITE_LOGS_IN | {"rights"},
        "grant database memory lacks CONNECT for memory_app",
    ),
    _repaired(
        _ACCESS,
        "the app is a member of the owner",
        "GRANT memory_owner TO memory_app",
        "rights app-confined task-history knowledge-history",
        "member memory_app of memory_owner is not wanted",
    ),
    _repaired(
        _ACCESS,
        "the app is a superuser",
        "ALTER ROLE memory_app_a SUPERUSER",
        "rights app-confined",
        "role memory_app_a has an attribute it should not have",
    ),
    _repaired(
        _ACCESS, "the idle login is open", "ALTER ROLE memory_app_b LOGIN", "rights", "role memory_app_b can log in"
    ),
    _repaired(
        _ACCESS,
        "the app's password is another",
        "ALTER ROLE memory_app_a PASSWORD 'changed-by-hand'",
        "ready search-path durable app-confined search-defaults",
        "password authentication failed",
        "password of memory_app_a is not the stored one",
    ),
    _repaired(
        _ACCESS,
        "a role has a setting",
        "ALTER ROLE memory_app_a SET work_mem = '1GB'",
        "rights",
        "setting memory_app_a in every database: work_mem=1GB is not wanted",
    ),
    _repaired(
        _ACCESS,
        "a role has another search_path",
        "ALTER ROLE memory_app_a IN DATABASE memory SET search_path = public",
        "rights search-path",
        "setting memory_app_a in memory: search_path=public is not wanted",
    ),
    _repaired(
        _ACCESS,
        "a role has lost a setting",
        "ALTER ROLE memory_app_a IN DATABASE memory RESET statement_timeout",
        "rights",
        "setting memory_app_a in memory: statement_timeout=60s is missing",
    ),
    _repaired(
        _ACCESS,
        "the app's searches may be short",
        "ALTER ROLE memory_app_a IN DATABASE memory RESET hnsw.iterative_scan;"
        " ALTER ROLE memory_app_a IN DATABASE memory SET hnsw.ef_search = 40",
        "rights search-defaults",
        "hnsw.iterative_scan is off, wanted strict_order: a search can return too few rows",
        "setting memory_app_a in memory: hnsw.iterative_scan=strict_order is missing",
    ),
    _repaired(
        _ACCESS,
        "all roles have a setting",
        "ALTER ROLE ALL SET row_security = off",
        "rights",
        "setting everybody in every database: row_security=off is not wanted",
    ),
    _repaired(
        _ACCESS,
        "the database has a setting",
        "ALTER DATABASE memory SET statement_timeout = 0",
        "rights",
        "setting everybody in memory: statement_timeout=0 is not wanted",
    ),
    _repaired(
        _ACCESS,
        "the server has a setting",
        "ALTER SYSTEM SET log_statement = 'all'; SELECT pg_reload_conf()",
        "rights configuration",
        "setting ALTER SYSTEM log_statement is not wanted",
    ),
    _repaired(
        _ACCESS,
        "a crash may take what was committed",
        "ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()",
        "rights configuration durable",
        "fsync is off",
        "setting ALTER SYSTEM fsync is not wanted",
    ),
    _repaired(
        _ACCESS,
        "postgresql.auto.conf is no configuration",
        "COPY (SELECT 'nonsense') TO '/var/lib/postgresql/18/data/postgresql.auto.conf'",
        "rights configuration",
        "postgresql.auto.conf line 1: syntax error",
        "setting ALTER SYSTEM syntax error is not wanted",
    ),
    _repaired(
        _ACCESS,
        "the app may make large objects",
        "GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC",
        "rights app-confined",
        "'SELECT lo_create(0)' went through as the app",
        "grant function lo_create(oid) has EXECUTE for PUBLIC, not wanted",
    ),
    _repaired(
        _ACCESS,
        "the app may run programs",
        "GRANT pg_execute_server_program TO memory_app",
        "rights app-confined",
        "member memory_app of pg_execute_server_program is not wanted",
    ),
    _repaired(
        _ACCESS,
        "public has another owner",
        "ALTER SCHEMA public OWNER TO memory_owner",
        "rights",
        "owner schema public is memory_owner, wanted postgres",
    ),
    _repaired(
        _ACCESS,
        "the database has another owner",
        "ALTER DATABASE memory OWNER TO memory_app",
        "rights app-confined",
        "owner database memory is memory_app, wanted memory_owner",
    ),
    _repaired(
        _SCHEMA,
        "an index is gone",
        "DROP INDEX memory_plugin.idx_memory_records_fts",
        "schema",
        "index memory_plugin.idx_memory_records_fts is missing",
    ),
    _repaired(
        _SCHEMA,
        "the vector index is gone",
        "DROP INDEX memory_plugin.idx_memory_records_embedding",
        "schema memory-index",
        "index memory_plugin.idx_memory_records_embedding is missing",
    ),
    _repaired(
        _SCHEMA,
        "the vector index is invalid",
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'memory_plugin.idx_memory_records_embedding'::regclass",
        "schema memory-index",
        "index memory_plugin.idx_memory_records_embedding is invalid",
    ),
    _repaired(
        _SCHEMA,
        "the app may not write",
        f"REVOKE INSERT ON {_RECORDS} FROM memory_app",
        "schema memory-round-trip memory-namespace",
        f"grant {_RECORDS} lacks INSERT for memory_app",
    ),
    _repaired(
        _SCHEMA,
        "the app may truncate",
        f"GRANT TRUNCATE ON {_RECORDS} TO memory_app",
        "schema",
        f"grant {_RECORDS} has TRUNCATE for memory_app, not wanted",
    ),
    _repaired(
        _SCHEMA,
        "the app may rewrite the history of tasks",
        "GRANT UPDATE ON control_plane.task_checkpoint TO memory_app",
        "schema task-history",
        "grant control_plane.task_checkpoint has UPDATE for memory_app, not wanted",
    ),
    _repaired(
        _SCHEMA,
        "the app may remove reviews",
        "GRANT DELETE ON knowledge.review_events TO memory_app",
        "schema knowledge-history",
        "grant knowledge.review_events has DELETE for memory_app, not wanted",
    ),
    _repaired(
        _SCHEMA,
        "an append-only trigger is gone",
        "DROP TRIGGER append_only ON control_plane.task_checkpoint",
        "schema",
        "trigger control_plane.task_checkpoint.append_only is missing",
    ),
    _repaired(
        _SCHEMA,
        "an append-only trigger is off",
        "ALTER TABLE control_plane.memory_procedure_version DISABLE TRIGGER append_only",
        "schema",
        "trigger control_plane.memory_procedure_version.append_only is disabled",
    ),
    _repaired(
        _CONFIGURATION,
        "postgresql.conf was edited",
        _reloaded(_edited(_file("etc/postgresql.conf"), lambda text: text.replace("'ddl'", "'all'"))),
        "configuration",
        "log_statement is all, wanted ddl",
        "postgresql.conf is not the wanted one",
    ),
    _repaired(
        _CONFIGURATION,
        "the server runs with what postgresql.conf no longer says",
        _ran_with_another_file,
        "configuration",
        "log_statement is all, wanted ddl",
    ),
    _repaired(
        _CONFIGURATION,
        "the guard was edited",
        _edited(_file("etc/guard.sh"), lambda text: text.replace("flock -n 9", "true")),
        "configuration",
        "guard.sh is not the wanted one",
    ),
    _repaired(
        _CONFIGURATION,
        "pg_ident.conf was edited",
        _edited(_file("etc/pg_ident.conf"), lambda text: text + "inside postgres memory_app_a\n"),
        "configuration",
        "pg_ident.conf is not the wanted one",
    ),
    _repaired(
        "connection files are published",
        "clients are told another password",
        _edited(_file("passfile"), lambda text: text.rpartition(":")[0] + ":another\n"),
        "connection-files",
        "passfile is not the wanted one",
    ),
    _repaired(
        "connection files are published",
        "everybody may read the connection file",
        lambda tenant: (tenant.directory / "connection.env").chmod(0o644),
        "connection-files",
        "connection.env has mode 0644, wanted 0600",
    ),
    _repaired(
        "passwords exist",
        "everybody may read a password",
        lambda tenant: (tenant.directory / "secrets/app-v1").chmod(0o644),
        "connection-files",
        "secrets/app-v1 has mode 0644, wanted 0600",
    ),
    _repaired(
        _CONFIGURATION,
        "pg_hba.conf was edited",
        _edited(_hba, lambda text: text.replace("reject", "scram-sha-256")),
        "hba",
        "pg_hba.conf is not the wanted one",
    ),
    _repaired(
        _CONFIGURATION,
        "pg_hba.conf cannot be read",
        _edited(_hba, lambda text: "hsot all all all trust\n" + text),
        "hba",
        "pg_hba.conf line 1: ",
        "pg_hba.conf is not the wanted one",
    ),
    _repaired(
        _CONFIGURATION,
        "pg_hba.conf trusts everybody",
        _everybody_trusted,
        # The app's own sessions insist on SCRAM, and so get none.
        _NEITHER_THE_APP_NOR_THE_SUITE_LOGS_IN | {"hba", "no-password", "wrong-password", "superuser-tcp"},
        "postgres was let into memory over TCP with a password",
        "pg_hba.conf is not the wanted one",
    ),
)

# What may hold data, or is not provision's to judge: it is named, left alone, and stays red until a hand mends it.
LEFT_ALONE = (
    _left(
        "a stranger's table in public",
        "CREATE TABLE public.stray AS SELECT 1 AS kept",
        "public-clean",
        "unexpected object public.stray does not belong in public",
        "DROP TABLE public.stray",
    ),
    _left(
        "a stranger's role",
        "CREATE ROLE intruder LOGIN",
        "rights",
        "unknown role intruder is not one of the tenant's roles",
        "DROP ROLE intruder",
    ),
    _left(
        "a column that may be null",
        f"ALTER TABLE {_RECORDS} ALTER content DROP NOT NULL",
        "schema",
        f"column {_RECORDS}.content is nullable, wanted NOT NULL",
        f"ALTER TABLE {_RECORDS} ALTER content SET NOT NULL",
    ),
    _left(
        "a column that may not",
        "ALTER TABLE memory_plugin.memory_namespaces ALTER metadata SET NOT NULL",
        "schema memory-metadata memory-round-trip memory-namespace memory-dimension",
        "column memory_plugin.memory_namespaces.metadata is NOT NULL, wanted nullable",
        "ALTER TABLE memory_plugin.memory_namespaces ALTER metadata DROP NOT NULL",
    ),
    _left(
        "a foreign key gone",
        f"ALTER TABLE {_RECORDS} DROP CONSTRAINT memory_records_namespace_fkey",
        "schema memory-namespace",
        f"constraint {_RECORDS}.memory_records_namespace_fkey is missing",
        f"ALTER TABLE {_RECORDS} ADD CONSTRAINT memory_records_namespace_fkey FOREIGN KEY (namespace)"
        " REFERENCES memory_plugin.memory_namespaces (name) ON DELETE CASCADE",
    ),
    _left(
        "another dimension",
        f"ALTER TABLE {_RECORDS} ALTER embedding TYPE public.vector(3)",
        "schema memory-round-trip memory-dimension",
        f"column {_RECORDS}.embedding has type vector(3), wanted vector(1536)",
        f"ALTER TABLE {_RECORDS} ALTER embedding TYPE public.vector(1536)",
    ),
    _left(
        "an applied migration is another",
        _ledger_row("template_sha256 = reverse(template_sha256), rendered_sha256 = reverse(rendered_sha256)"),
        "ledger",
        "memory_plugin 0001_memory_v2 was edited after it was applied: sha256 ",
        _ledger_row("template_sha256 = reverse(template_sha256), rendered_sha256 = reverse(rendered_sha256)"),
    ),
    _left(
        "the extension has another owner",
        "UPDATE pg_extension SET extowner = 'memory_owner'::regrole WHERE extname = 'vector'",
        "extension",
        "extension vector is owned by memory_owner, wanted postgres",
        "UPDATE pg_extension SET extowner = 'postgres'::regrole WHERE extname = 'vector'",
    ),
    _left(
        "the spec file names another image",
        _edited(_spec, _set("image", "sha256:0000")),
        "container-image",
        "its spec file says sha256:0000",
        lambda tenant: _edited(_spec, _set("image", f"sha256:{tenant.container()['Image']}"))(tenant),
    ),
    _left(
        "the volume's marker names another tenant",
        _edited(_marker, _set("tenant", "another")),
        "volume-identity",
        'was initialised for another: {"tenant": "another"',
        lambda tenant: _edited(_marker, _set("tenant", tenant.name))(tenant),
    ),
    _left(
        "the container was made anew by hand, softer",
        _softer_container,
        "container-spec container-hardened container-mounts",
        "its root file system is writable",
        lambda tenant: tenant.account.podman("rm", "--force", "--time", "10", tenant.name),
    ),
)
