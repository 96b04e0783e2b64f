"""Verbs of a tenant's database: what is sent in which state, and that passwords are on no command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.database import operations
from pgberth.database.operations import connection_files
from pgberth.model import layout
from pgberth.model.secret import Secret
from pgberth.model.spec_file import SpecFile
from pgberth.model.tenant import Tenant
from pgberth.rendering.configuration import reload_files, restart_files
from tests.fake_host import CANARY, Answer, FakeHost, Sent, password_in, sent, stored
from tests.postgres import Server
from tests.sample import ABSENT, ACME, HOME, IMAGE, container, server, settings, spec_file, state

FILES = reload_files(ACME)
RESTART = restart_files(ACME)
SECRETS = stored(["superuser-v1", "migrator-v1", "app-v1", "monitor-v1"])
DIRECTORY = layout.directory("acme")

ROOMS: dict[str, Callable[..., Any]] = {
    "configuration": operations.configuration_current,
    "access": operations.access_current,
    "connections": operations.connection_files_published,
}


def host(found: TenantState | None, secrets: tuple[str, Answer] = SECRETS) -> FakeHost:
    return FakeHost(facts={TenantObservation: lambda **_: found}, answers=[secrets])


def do(room: str, at: FakeHost | TenantState | None, tenant: Tenant = ACME) -> list[Sent]:
    here = at if isinstance(at, FakeHost) else host(at)
    return sent(ROOMS[room], here, context=TenantContext(tenant, "SELECT 1"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_tenant_in_order_is_left_alone(room: str) -> None:
    at = host(state())
    assert do(room, at) == []
    assert at.said == []


NOT_UP = {
    "could not be asked": None,
    "on a machine that is not ready": state(machine_profile=None, **ABSENT),
}


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("which", NOT_UP)
def test_nothing_is_done_to_a_tenant_that_is_not_there(room: str, which: str) -> None:
    assert do(room, NOT_UP[which]) == []


STOPPED = state(container=container(status="exited", pid=0, process={}), marker={}, answer=None)


def test_roles_are_not_looked_at_while_the_server_is_stopped() -> None:
    assert do("access", STOPPED) == do("access", state(**{**ABSENT, "container": None})) == []


# pg_hba.conf and its fellow.


def without(*paths: str) -> TenantState:
    return state(files={path: digest for path, digest in state().files.items() if path not in paths})


def test_a_file_that_is_missing_or_another_is_written_and_the_server_reloads() -> None:
    for found in (without("etc/pg_hba.conf"), state(files={**state().files, "etc/pg_hba.conf": "0" * 64})):
        write, reload = do("configuration", found)
        assert write.files == {f"{layout.etc('acme')}/pg_hba.conf": (FILES["pg_hba.conf"], "0600")}
        assert "pg_reload_conf" in reload.stdin
        assert write.under_command_lock
        assert reload.under_command_lock


def test_the_server_is_asked_whether_it_understands_the_file_before_it_is_told_to_reload() -> None:
    _, reload = do("configuration", without("etc/pg_hba.conf"))
    assert reload.stdin.index("pg_hba_file_rules") < reload.stdin.index("SELECT pg_catalog.pg_reload_conf()")
    assert "RAISE EXCEPTION" in reload.stdin


def test_a_server_that_does_not_run_reads_its_files_when_it_starts() -> None:
    stopped = replace(STOPPED, files={})
    (write,) = do("configuration", stopped)
    assert list(write.files) == [f"{layout.etc('acme')}/{name}" for name in FILES]


@pytest.mark.parametrize(("name", "mode"), [("postgresql.conf", "0600"), ("guard.sh", "0700")])
def test_an_edited_file_of_the_running_container_is_put_back_and_told(name: str, mode: str) -> None:
    at = host(state(files={**state().files, f"etc/{name}": "0" * 64}))
    write, reload = do("configuration", at)
    assert write.files == {f"{layout.etc('acme')}/{name}": (RESTART[name], mode)}
    assert "pg_reload_conf" in reload.stdin
    assert at.said == [f"acme: repairing: {name} is not the wanted one"]


def test_a_file_that_others_may_read_or_nobody_may_run_is_written_anew() -> None:
    write, _ = do("configuration", state(modes={"etc/pg_hba.conf": "644"}))
    assert write.files == {f"{layout.etc('acme')}/pg_hba.conf": (FILES["pg_hba.conf"], "0600")}
    write, _ = do("configuration", state(modes={"etc/guard.sh": "600"}))
    assert write.files == {f"{layout.etc('acme')}/guard.sh": (RESTART["guard.sh"], "0700")}
    (write,) = do("connections", state(modes={"passfile": "644"}))
    ((path, (_, mode)),) = write.files.items()
    assert (path, mode) == (f"{DIRECTORY}/passfile", "0600")


def test_a_file_that_waits_for_a_new_container_is_left_alone() -> None:
    other = container(labels={**container().labels, "pgberth.spec": "other"})
    assert do("configuration", state(container=other, files={**state().files, "etc/postgresql.conf": "0" * 64})) == []


def test_a_server_that_does_not_run_with_its_file_reloads() -> None:
    (reload,) = do("configuration", state(answer=server(settings=settings(log_statement="all"))))
    assert "pg_reload_conf" in reload.stdin


def test_what_a_reload_cannot_change_is_not_tried_again_with_each_deploy() -> None:
    held = [{**row, "context": "postmaster"} for row in settings(max_connections="500")]
    assert do("configuration", state(answer=server(settings=held))) == []
    auto = [{**row, "source": "postgresql.auto.conf"} for row in settings(jit="on") if row["name"] == "jit"]
    rest = [row for row in settings() if row["name"] != "jit"]
    assert do("configuration", state(answer=server(settings=[*rest, *auto]))) == []  # it is access's to undo


def test_letting_the_superuser_in_over_tcp_is_a_reload_not_a_new_container() -> None:
    write, _ = do("configuration", state(), replace(ACME, superuser_tcp=True))
    assert "host all postgres all scram-sha-256" in write.stdin


# Roles and rights.


def test_where_every_verifier_is_the_stored_passwords_nothing_is_sent() -> None:
    at = host(state())
    assert do("access", at) == []
    assert len(at.asked) == 1  # the stored secrets, read once


def test_the_script_goes_in_over_the_socket_as_the_superuser_on_stdin() -> None:
    (script,) = do("access", state(answer=None, server_error='FATAL:  database "memory" does not exist'))
    assert script.under_command_lock
    assert script.arguments == ["acme", str(container().pid), IMAGE.bindir, "postgres"]
    assert "podman exec -i" in script.script
    assert "-h /run/postgresql -U postgres" in script.script
    assert "ON_ERROR_STOP=1" in script.script
    assert script.stdin.count(" PASSWORD 'SCRAM-SHA-256$") == 5


NOT_MADE_YET = [
    'database "memory" does not exist',
    'role "memory_monitor" does not exist',
    "is not permitted to log in",
]
IN_TROUBLE = {
    "the database system is starting up": "is starting, stopping or in recovery: the database system is starting up",
    "sorry, too many clients already": "has no free connection: sorry, too many clients already",
    "canceling statement": "does not answer: canceling statement",
    "": "does not answer: it said nothing for 30 s",
}


@pytest.mark.parametrize("said", NOT_MADE_YET)
def test_a_server_that_was_never_given_its_roles_gets_them(said: str) -> None:
    (script,) = do("access", state(answer=None, server_error=f"psql: error: FATAL:  {said}"))
    assert not script.refusal


@pytest.mark.parametrize("said", IN_TROUBLE)
def test_a_server_in_any_other_trouble_is_left_alone_and_told_of(said: str) -> None:
    (refused,) = do("access", state(answer=None, server_error=said))
    assert refused.refusal.startswith(f"acme: its server {IN_TROUBLE[said]}\nHINT: ")


@pytest.mark.parametrize("role", ["postgres", "memory_migrator", "memory_app_a", "memory_monitor"])
def test_only_the_password_that_differs_is_sent_as_a_verifier(role: str) -> None:
    verifiers = server()["verifiers"]
    for changed in ({**verifiers[role], "digest": "0" * 64}, {**verifiers[role], "iterations": 1000}, None):
        told = {name: changed if name == role else kept for name, kept in verifiers.items()}
        found = state(answer=server(verifiers={name: told[name] for name in told if told[name]}))
        at = host(found)
        (script,) = do("access", at)
        assert script.stdin.count(" PASSWORD ") == 1
        assert f"""ALTER ROLE "{role}" PASSWORD 'SCRAM-SHA-256$""" in script.stdin
        assert at.said == [f"acme: repairing: password of {role} is not the stored one"]


@pytest.mark.parametrize("kind", ["role", "member", "setting", "grant", "owner"])
def test_what_holds_no_data_is_named_and_put_right(kind: str) -> None:
    finding = {"kind": kind, "object": "memory_app", "problem": "is not wanted"}
    at = host(state(answer=server(access=[finding])))
    (script,) = do("access", at)
    assert " PASSWORD " not in script.stdin
    assert f"acme: repairing: {kind} memory_app is not wanted" in at.said


@pytest.mark.parametrize("kind", ["unexpected object", "unknown role", "schema", "extension"])
def test_what_may_be_somebodys_is_left_to_the_checks(kind: str) -> None:
    finding = {"kind": kind, "object": "public.notes", "problem": "does not belong in public"}
    at = host(state(answer=server(access=[finding])))
    assert do("access", at) == []
    assert at.said == []


def test_a_database_without_pgvector_gets_it() -> None:
    (script,) = do("access", state(answer=server(vector="")))
    assert "CREATE EXTENSION vector SCHEMA public" in script.stdin


@pytest.mark.parametrize("missing", ["superuser-v1", "migrator-v1", "app-v1", "monitor-v1"])
def test_a_password_that_is_not_stored_is_refused_and_none_is_set(missing: str) -> None:
    names = [name for name in spec_file()["secrets"].values() if name != missing]
    (refused,) = do("access", host(state(), stored(names)))
    assert refused.refusal.startswith("acme: no stored password for ")
    assert "HINT: is ~/" in refused.refusal


@pytest.mark.parametrize("unreadable", [Answer(stderr="Permission denied", done=False), Answer(""), Answer("app-v1")])
def test_passwords_that_cannot_be_read_are_refused_all_of_them_by_role(unreadable: Answer) -> None:
    (refused,) = do("access", host(state(), (SECRETS[0], unreadable)))
    assert "memory_app_a, memory_migrator, memory_monitor, memory_suite, postgres" in refused.refusal
    (refused,) = do("connections", host(state(files={}), (SECRETS[0], unreadable)))
    assert "no stored password for memory_app_a" in refused.refusal


def test_the_passwords_of_the_spec_file_count_not_the_first_ones() -> None:
    names = {**spec_file()["secrets"], "app": "app-v8"}
    found = state(spec={**spec_file(), "secrets": names})
    (script,) = do("access", host(found, stored([*names.values(), "app-v1"])))
    assert """ALTER ROLE "memory_app_a" PASSWORD""" in script.stdin
    assert script.stdin.count(" PASSWORD ") == 1


# Connection files.


def test_missing_connection_files_are_written_for_their_owner_only() -> None:
    (write,) = do("connections", without("passfile", "connection.env"))
    assert [mode for _, mode in write.files.values()] == ["0600", "0600"]
    passfile, environment = (write.files[f"{DIRECTORY}/{name}"][0] for name in ("passfile", "connection.env"))
    assert passfile == f"127.0.0.1:5501:memory:memory_app_a:{password_in('app-v1').reveal()}\n"
    assert [line.split("=")[0] for line in environment.splitlines()] == [
        "DATABASE_URL",
        "MEMORY_PLUGIN_DATABASE_URL",
    ]


def test_only_the_file_that_differs_is_written() -> None:
    (only,) = do("connections", without("passfile"))
    assert list(only.files) == [f"{DIRECTORY}/passfile"]


def test_the_files_name_the_port_the_server_listens_on_not_the_one_it_will() -> None:
    # A port newly given in the inventory is taken up by a recycle.
    assert do("connections", state(), replace(ACME, port=5599)) == []


@pytest.mark.parametrize("text", ["plain", "p:w", "back\\slash", "\\:", "p@s s/w?o#r%d&=", "it's", "☃"])
def test_an_odd_password_logs_in_by_either_file(postgres18: Server, tmp_path: Path, text: str) -> None:
    with postgres18.connect() as session:
        session.execute("DROP ROLE IF EXISTS odd")
        session.execute(sql.SQL("CREATE ROLE odd LOGIN PASSWORD {}").format(sql.Literal(text)))
    files = connection_files(ACME, SpecFile({"port": postgres18.port}), HOME, Secret(text))
    passfile = tmp_path / "passfile"
    passfile.write_text(files["passfile"].replace("memory_app_a", "odd").replace(":memory:", ":postgres:"))
    passfile.chmod(0o600)
    way = {"host": "127.0.0.1", "port": str(postgres18.port), "user": "odd", "dbname": "postgres"}
    psycopg.connect(**way, passfile=str(passfile)).close()  # type: ignore[arg-type]
    urls = dict(line.split("=", 1) for line in files["connection.env"].splitlines())
    for url in urls.values():
        assert conninfo_to_dict(url)["password"] == text
    with postgres18.connect() as session:
        session.execute("DROP ROLE odd")


# Everything.


@pytest.mark.parametrize("room", ROOMS)
def test_no_password_is_on_a_command_line_and_only_the_connection_files_hold_one(room: str) -> None:
    at = host(state(files={}, answer=server(verifiers={})))
    commands_sent = do(room, at)
    assert commands_sent
    assert not [command for command in (*commands_sent, *at.asked) if CANARY in command.text]
    assert all((CANARY in command.stdin) is (room == "connections") for command in commands_sent)
    assert CANARY not in "\n".join(at.said)
