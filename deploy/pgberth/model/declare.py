"""What an inventory file calls: each line of the table becomes a pyinfra host. Nothing is judged here (see load)."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgberth.model.tenant import COMPONENTS, DEFAULT_ACCOUNT

# A frozenset, since pyinfra takes every list and tuple at an inventory's top level for a group of hosts.
ALL = frozenset(COMPONENTS)

HostLine = tuple[str, dict[str, Any]]
DECLARED = "pgberth_declared:"  # + file:line; one key a line, so that two lines for one host are both seen
_DECLARED_AT: Counter[tuple[str, str]] = Counter()


@dataclass(frozen=True)
class MachineLine:
    """A machine as written; `host` is its line in the `machines` group."""

    name: Any
    fields: dict[str, Any]
    where: str

    @property
    def host(self) -> HostLine:
        return str(self.name), {f"{DECLARED}{self.where}": ("machine", self.name, self.fields)}


def machine(name: Any, **fields: Any) -> MachineLine:
    """
    A machine. `machine("@local")` is this one.

    + account: the service account, default "pgberth"
    """
    return MachineLine(name, {"account": DEFAULT_ACCOUNT, **fields}, _caller())


def tenant(name: Any, *, on: MachineLine | Any = None, **fields: Any) -> HostLine:
    """
    A tenant on a machine, as a line of a ring.

    + on: the machine
    + port, components, profile, image, superuser_tcp, allow_old_pgvector: see model.Tenant
    """
    machine_name = on.name if isinstance(on, MachineLine) else on
    host = f"@tenant/{name}" if machine_name == "@local" else str(name)
    data = {
        f"{DECLARED}{_told_apart(_caller(), str(name))}": ("tenant", name, {**fields, "on": machine_name}),
        # What the connector needs before anything is checked.
        "pgberth_account": on.fields.get("account") if isinstance(on, MachineLine) else None,
    }
    return host, data


def _caller() -> str:
    """Where the inventory line stands, e.g. `inventories/local.py:8`."""
    frame = sys._getframe(2)
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}"


def _told_apart(where: str, name: str) -> str:
    """A loop can make one name twice on one line; the second would otherwise silently replace the first."""
    _DECLARED_AT[where, name] += 1
    times = _DECLARED_AT[where, name]
    return where if times == 1 else f"{where} (time {times})"
