"""A tenant, seen from outside the product."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from pgberth.model import layout
from tests.deploy.account import Account
from tests.deploy.processes import eventually


@dataclass(frozen=True)
class Tenant:
    """A name and a port on an account; whether anything is there yet is another matter."""

    account: Account
    name: str
    port: int
    components: tuple[str, ...]

    def line(self) -> str:
        """Its line in an inventory."""
        desired = ", ".join(repr(component) for component in self.components)
        return f"tenant({self.name!r}, on=_here, port={self.port}, components={{{desired}}}, image=_image)"

    @property
    def directory(self) -> Path:
        return self.account.home / layout.directory(self.name)

    @property
    def volume(self) -> str:
        return layout.volume(self.name, 1)

    def password(self, kind: str = "app") -> str:
        return (self.directory / "secrets" / layout.secret(kind, 1)).read_text().strip()

    def files(self) -> dict[str, tuple[float, bytes]]:
        """Path -> time of change and content, for every file the account keeps of it, but what its server says."""
        return {
            str(path.relative_to(self.directory)): (path.stat().st_mtime, path.read_bytes())
            for path in self.directory.rglob("*")
            if path.is_file() and path.name != "server.log"
        }

    def container(self) -> dict[str, Any]:
        """What `podman inspect` says."""
        found: dict[str, Any] = json.loads(self.account.podman("container", "inspect", self.name).out)[0]
        return found

    def execute(self, *command: str, stdin: str = "") -> str:
        """What a command inside the container says."""
        return self.account.podman("exec", "--interactive", self.name, *command, stdin=stdin).out

    def superuser(self, sql: str, database: str = "memory") -> str:
        """Run SQL as somebody with the run of the machine would: psql on the socket, inside the container."""
        client = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-U", "postgres", "-d", database)
        return self.execute(*client, stdin=sql).strip()

    def wait_until_ready(self) -> None:
        """Its server answers on the socket. For a container that a test started by itself."""
        server = ("pg_isready", "-q", "-h", "/run/postgresql")
        assert eventually(lambda: self.account.podman("exec", self.name, *server, check=False).code == 0)

    def connect(self, user: str = "memory_app_a", password: str | None = None) -> psycopg.Connection[Any]:
        """An autocommit session through the published port, as the app unless told otherwise."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            dbname="memory",
            password=self.password() if password is None else password,
            passfile="/dev/null/none",
            connect_timeout=10,
            autocommit=True,
        )
