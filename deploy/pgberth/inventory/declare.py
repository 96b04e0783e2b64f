"""What an inventory file calls: each line of the table becomes a pyinfra host. Nothing is judged here (see load)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgberth.model.names import LOCAL
from pgberth.model.tenant import COMPONENTS, DEFAULT_ACCOUNT
from pgberth.run import current_run

# A frozenset, since pyinfra takes every list and tuple at an inventory's top level for a group of hosts.
ALL = frozenset(COMPONENTS)

HostLine = tuple[str, dict[str, Any]]
DECLARED = "pgberth_declared:"  # + file:line; one key a line, so that two lines for one host are both seen
PROBLEMS = "pgberth_problems"  # (fact, hint) of what was wrong with the file the lines stand in; on one host
_NAMELESS = "?"  # pyinfra ends over an empty name before anything of the inventory is judged


@dataclass(frozen=True)
class MachineLine:
    """
    A machine as written; `host` is its line in the `machines` group.

    + places: field -> file:line, where the fields stand on lines of their own
    """

    name: Any
    fields: dict[str, Any]
    where: str
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> HostLine:
        host = LOCAL if self.name == LOCAL else f"@machine-ssh/{self.name or _NAMELESS}"
        declared = ("machine", self.name, self.fields, dict(self.places))
        return host, {f"{DECLARED}{self.where}": declared, **self.ssh_data()}

    def ssh_data(self) -> dict[str, Any]:
        """How pyinfra gets to the machine; nothing for this one. An unknown host key is never accepted."""
        if self.name == LOCAL:
            return {}
        given = {name: value for name, value in self.fields.items() if name.startswith("ssh_")}
        data = {"pgberth_machine": self.name, "ssh_hostname": self.name, "ssh_strict_host_key_checking": "yes", **given}
        return {**data, "_sudo": True} if self.fields.get("sudo") is True else data


def machine(name: Any, **fields: Any) -> MachineLine:
    """
    A machine. `machine("@local")` is this one; any other name is reached over SSH.

    + account: the service account, default "pgberth"
    + ssh_hostname, ssh_port, ssh_user, ssh_key, ssh_known_hosts_file: where they differ from SSH's own configuration
    + sudo: become root through sudo, where ssh_user is not root
    """
    return MachineLine(name, {"account": DEFAULT_ACCOUNT, **fields}, _caller())


def tenant(name: Any, *, on: MachineLine | Any = None, **fields: Any) -> HostLine:
    """
    A tenant on a machine, as a line of a ring.

    + on: the machine
    + port, components, profile, image, superuser_tcp, allow_old_pgvector, sidecar, listen, secrets: see model.Tenant
    """
    return tenant_line(name, on, fields, _told_apart(_caller(), str(name)), {})


def tenant_line(
    name: Any, on: MachineLine | Any, fields: Mapping[str, Any], where: str, places: Mapping[str, str]
) -> HostLine:
    """The same for a line that stands elsewhere. + places: field -> file:line"""
    known = isinstance(on, MachineLine)
    machine_name = on.name if known else on
    # A tenant of no known machine is refused before anything is asked of it; until then nobody is looked for.
    connector = "tenant" if machine_name == LOCAL or not known else "tenant-ssh"
    data = {
        **(on.ssh_data() if known else {}),
        f"{DECLARED}{where}": ("tenant", name, {**fields, "on": machine_name}, dict(places)),
        # What the connector needs before anything is checked.
        "pgberth_account": on.fields.get("account") if known else None,
    }
    return f"@{connector}/{name or _NAMELESS}", data


def _caller() -> str:
    """Where the inventory line stands, e.g. `inventories/local.py:8`."""
    frame = sys._getframe(2)
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}"


@dataclass
class DeclaredLines:
    """How often each name was declared on each line."""

    times: Counter[tuple[str, str]] = field(default_factory=Counter)


def _told_apart(where: str, name: str) -> str:
    """A loop can make one name twice on one line; the second would otherwise silently replace the first."""
    declared = current_run().part(DeclaredLines).times
    declared[where, name] += 1
    times = declared[where, name]
    return where if times == 1 else f"{where} (time {times})"
