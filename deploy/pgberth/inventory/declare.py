"""What an inventory file calls: each line becomes a pyinfra host. `load` checks the rules; nothing is checked here."""

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

# A frozenset: pyinfra takes every list or tuple at the top level of an inventory for a group of hosts.
ALL = frozenset(COMPONENTS)

HostLine = tuple[str, dict[str, Any]]
DECLARED = "pgberth_declared:"  # + file:line; a key of its own for each line, so that two lines for one host both count
PROBLEMS = "pgberth_problems"  # [(fact, hint)] of the file that the lines are from; kept on one of its hosts
_NAMELESS = "?"  # with an empty name pyinfra would stop before the rules are checked


@dataclass(frozen=True)
class MachineLine:
    """
    A machine as written; `host` is its line in the `machines` group.

    + places: field -> file:line, for fields on lines of their own
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
        """pyinfra's data for the connection; empty for this machine. An unknown host key is never accepted."""
        if self.name == LOCAL:
            return {}
        own = {name: value for name, value in self.fields.items() if name.startswith("ssh_")}
        data = {"pgberth_machine": self.name, "ssh_hostname": self.name, "ssh_strict_host_key_checking": "yes", **own}
        return {**data, "_sudo": True} if self.fields.get("sudo") is True else data


def machine(name: Any, **fields: Any) -> MachineLine:
    """
    Declare a machine. `machine("@local")` is this one; every other is reached over SSH.

    + account: the service account, "pgberth" by default
    + ssh_hostname, ssh_port, ssh_user, ssh_key, ssh_known_hosts_file: where they differ from the SSH configuration
    + sudo: become root through sudo, where ssh_user is not root
    """
    return MachineLine(name, {"account": DEFAULT_ACCOUNT, **fields}, _caller())


def tenant(name: Any, *, on: MachineLine | Any = None, **fields: Any) -> HostLine:
    """
    Declare a tenant on a machine, as a line of a ring.

    + on: the machine
    + port, components, parameters, profile, clients, plugin_pool, image, superuser_tcp, allow_old_pgvector, sidecar,
      listen, secrets: see model.tenant.Tenant
    """
    return tenant_line(name, on, fields, _unique_place(_caller(), str(name)), {})


def tenant_line(
    name: Any, on: MachineLine | Any, fields: Mapping[str, Any], where: str, places: Mapping[str, str]
) -> HostLine:
    """
    As `tenant`, for a line of another file.

    + where: its file:line
    + places: field -> file:line, for fields on lines of their own
    """
    known = isinstance(on, MachineLine)
    machine_name = on.name if known else on
    # A tenant without a known machine is refused before any connection is opened.
    connector = "tenant" if machine_name == LOCAL or not known else "tenant-ssh"
    data = {
        **(on.ssh_data() if known else {}),
        f"{DECLARED}{where}": ("tenant", name, {**fields, "on": machine_name}, dict(places)),
        # The connector needs it before the rules are checked.
        "pgberth_account": on.fields.get("account") if known else None,
    }
    return f"@{connector}/{name or _NAMELESS}", data


def _caller() -> str:
    """The file:line of the inventory's call, e.g. `inventories/local.py:8`."""
    frame = sys._getframe(2)
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}"


@dataclass
class DeclaredLines:
    """(file:line, name) -> how often that name was declared there."""

    times: Counter[tuple[str, str]] = field(default_factory=Counter)


def _unique_place(where: str, name: str) -> str:
    """A loop can declare one name twice on one line; the second would otherwise silently replace the first."""
    declared = current_run().part(DeclaredLines).times
    declared[where, name] += 1
    times = declared[where, name]
    return where if times == 1 else f"{where} (time {times})"
