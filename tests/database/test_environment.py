"""A session depends on what it states: libpq's variables and files, whatever is in them, change nothing of it."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from pgberth.database import certificate
from pgberth.database.session import connect
from pgberth.model.listen import Listen
from pgberth.model.secret import Secret
from tests.postgres import Server

NOWHERE = "/nowhere/hostile"
REPORTED = [default.envvar.decode() for default in Conninfo.get_defaults() if default.envvar]
# libpq reads these, too, and reports none of them.
UNREPORTED = ["PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGLOCALEDIR"]
# The value that does the most harm; for all others, one that is a value of nothing.
HARM = {
    "PGSSLMODE": "require",
    "PGHOSTADDR": "192.0.2.1",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGSSLNEGOTIATION": "direct",
    "PGCLIENTENCODING": "SQL_ASCII",
    "PGAPPNAME": "somebody else",
    "PGTZ": "Asia/Tokyo",
    "PGDATESTYLE": "German",
    "PGGEQO": "off",
    "PGOPTIONS": "-csearch_path=nowhere -ctimezone=Asia/Tokyo",
    "PGREQUIREAUTH": "none",
    "PGREQUIRESSL": "1",
    "PGCONNECT_TIMEOUT": "0",
    "PGPORT": "1",
}
QUESTION = """
SELECT current_user::text, current_setting('application_name'), current_setting('client_encoding'),
       current_setting('timezone'), current_setting('datestyle'), current_setting('geqo'),
       current_setting('search_path')
"""
DEFAULTS = ("memory_app_a", "pgberth", "UTF8", "UTC", "ISO, MDY", "on", '"$user", public')


def answered(server: Server, port: int = 0) -> tuple[str, ...] | None:
    address, password = ("127.0.0.1", port or server.port), Secret(server.password)
    with connect(address, "memory_app_a", password, database="postgres") as session:
        return session.execute(QUESTION.encode()).fetchone()


@pytest.mark.parametrize("variable", [*REPORTED, *UNREPORTED])
def test_no_variable_of_libpq_changes_a_session(
    postgres18: Server, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, HARM.get(variable, NOWHERE))
    assert answered(postgres18) == DEFAULTS


def test_all_of_them_together_change_nothing_either(postgres18: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*REPORTED, *UNREPORTED):
        monkeypatch.setenv(variable, HARM.get(variable, NOWHERE))
    assert answered(postgres18) == DEFAULTS


@pytest.mark.parametrize("variable", ["PGSSLMODE", "PGHOSTADDR", "PGTARGETSESSIONATTRS", "PGGSSENCMODE", "PGSERVICE"])
def test_a_session_that_states_less_is_refused_by_them(
    postgres18: Server, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, HARM.get(variable, NOWHERE))
    login = postgres18.conninfo("memory_app_a", "postgres", tcp=True)
    with pytest.raises((psycopg.OperationalError, psycopg.ProgrammingError)):
        psycopg.connect(login, connect_timeout=2).close()


def test_a_variable_of_our_own_is_kept(postgres18: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGBERTH_TEST_KEPT", "1")
    answered(postgres18)
    assert os.environ["PGBERTH_TEST_KEPT"] == "1"


OWN_SETTINGS = (
    "quote_all_identifiers=on",
    "standard_conforming_strings=off",
    "datestyle=German",
    "timezone='Asia/Tokyo'",
)


def test_no_setting_that_a_role_gave_itself_changes_what_a_session_reads(postgres18: Server) -> None:
    identifier = "SELECT quote_ident('a'), 'a\\\\b'"
    with postgres18.connect("memory_app_a") as app:
        for setting in OWN_SETTINGS:
            app.execute(f"ALTER ROLE CURRENT_USER SET {setting}".encode())
    try:
        assert answered(postgres18) == DEFAULTS
        address, password = ("127.0.0.1", postgres18.port), Secret(postgres18.password)
        with connect(address, "memory_app_a", password, database="postgres") as session:
            assert session.execute(identifier.encode()).fetchone() == ("a", "a\\\\b")
    finally:
        with postgres18.connect() as operator:
            operator.execute("ALTER ROLE memory_app_a RESET ALL")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home full of what libpq reads of itself, all of it wrong."""
    (tmp_path / ".postgresql").mkdir()
    stranger = certificate.authority("a stranger", certificate.utc())
    for name in ("root.crt", "root.crl", "postgresql.crt", "postgresql.key"):
        (tmp_path / ".postgresql" / name).write_text(stranger if name == "root.crt" else "nonsense")
        (tmp_path / ".postgresql" / name).chmod(0o600)
    (tmp_path / ".pg_service.conf").write_text("[hostile]\nhost=192.0.2.1\nsslmode=verify-full\n")
    (tmp_path / ".pgpass").write_text("*:*:*:*:wrong\n")
    (tmp_path / ".pgpass").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGSERVICE", "hostile")
    return tmp_path


@pytest.fixture
def tls_port(postgres18: Server, tmp_path: Path) -> Iterator[int]:
    """A port that accepts sessions with TLS only, and hands them to the server."""
    now = certificate.utc()
    signer = certificate.authority("acme", now)
    (tmp_path / "server.pem").write_text(certificate.issued(Listen("127.0.0.1"), signer, now))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, postgres18.port), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            client.recv(8)  # SSLRequest
            client.sendall(b"S")
            with suppress(OSError):  # a client that rejects the certificate
                line = context.wrap_socket(client, server_side=True)
                server = socket.create_connection(("127.0.0.1", port))
                for source, sink in ((line, server), (server, line)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.close()


def test_no_file_of_the_operators_home_changes_a_session(postgres18: Server, files: Path, tls_port: int) -> None:
    assert answered(postgres18) == DEFAULTS
    assert answered(postgres18, tls_port) == DEFAULTS


def test_a_session_that_states_less_is_refused_by_those_files(
    postgres18: Server, files: Path, tls_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSERVICE")
    login = make_conninfo(
        user="memory_app_a", password=postgres18.password, dbname="postgres", sslmode="require", connect_timeout=2
    )
    with pytest.raises(psycopg.OperationalError, match=r"\.postgresql|certificate verify failed"):
        psycopg.connect(login, host="127.0.0.1", port=tls_port).close()
