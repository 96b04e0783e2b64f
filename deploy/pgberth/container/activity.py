"""Who is connected to a tenant's server at this moment, asked by its superuser."""

from __future__ import annotations

import json
from io import StringIO

from pyinfra import host
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.container.state import ContainerState
from pgberth.model import layout
from pgberth.model.roles import DATABASE
from pgberth.model.sessions import Activity
from pgberth.rendering.sql import Sql, read_sql, render


class ServerObservation(FactBase[list[str]]):
    """The lines that the server of a running container answers to the probe; none where it does not answer."""

    def command(self, tenant: str, pid: int, bindir: str) -> StringCommand:
        arguments = layout.container(tenant), str(pid), bindir, DATABASE
        return commands.shell(f"({commands.script('container/psql.sh')}) 2>&1; exit 0", *arguments, timeout=40)

    def process(self, output: list[str]) -> list[str]:
        return output

    @staticmethod
    def default() -> list[str]:
        return []


def activity_now(tenant: str, container: ContainerState | None) -> Activity:
    """For work that failed a moment ago. Nobody, where the server does not answer."""
    if container is None:
        return Activity()
    script = render("postgres/activity.sql.j2", activity_queries())
    place = {"pid": container.pid, "bindir": container.bindir}
    try:
        stdin = StringIO(f"{_SAFE}{script}\n")
        lines = host.get_fact(ServerObservation, tenant=tenant, **place, _stdin=stdin, _ignore_errors=True)
        # One line; podman's warnings may stand beside it.
        return Activity.parse(json.loads(next((line for line in lines if line.startswith("{")), "")))
    except (PyinfraError, ValueError, KeyError, TypeError, AttributeError):
        return Activity()  # the failure itself is reported without it


def activity_queries() -> dict[str, Sql]:
    """The values of activity.sql.j2."""
    return {name: Sql(read_sql(f"postgres/{name}.sql")) for name in ("sessions", "slots")}


_SAFE = "SET search_path = pg_catalog, pg_temp;\n"
