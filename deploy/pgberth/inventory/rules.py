"""The rules of an inventory's fields: one function a field, which returns what the value must be, or None if it is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pgberth.model.connections import PLUGIN_POOL, Connections
from pgberth.model.image import Image, image_fault
from pgberth.model.listen import listen_fault
from pgberth.model.names import (
    account_fault,
    machine_name_fault,
    port_fault,
    ssh_port_fault,
    text_fault,
)
from pgberth.model.profile import PROFILES
from pgberth.model.sidecar import sidecar_fault
from pgberth.model.tenant import COMPONENTS, HEAD
from pgberth.secrets.reference import sources_fault

Rule = Callable[[Any], str | None]

_COMPONENTS = f"a set of {', '.join(COMPONENTS)}, or component -> version"
_PARAMETERS = "component -> name -> text or whole number"


def components_fault(value: Any) -> str | None:
    """The rule that these components violate, or None where it is valid."""
    if isinstance(value, str) or not isinstance(value, (set, frozenset, list, tuple, dict)) or not value:
        return _COMPONENTS
    for name in value:
        if name not in COMPONENTS:
            return _COMPONENTS + did_you_mean(name, COMPONENTS)
    if len(set(value)) < len(value):
        return f"{_COMPONENTS}; each once"
    if isinstance(value, dict) and not all(map(_is_target, value.values())):
        return "component -> version, each a number from 0 to 9999 or 'head'"
    return None


def _is_target(value: Any) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9999
    return number or value == HEAD


def parameters_fault(value: Any) -> str | None:
    """The rule that these migration parameters violate, or None where it is valid."""
    if not isinstance(value, dict):
        return _PARAMETERS
    for component, parameters in value.items():
        if component not in COMPONENTS:
            return _PARAMETERS + did_you_mean(component, COMPONENTS)
        if not isinstance(parameters, dict) or not all(map(_is_parameter, parameters.items())):
            return _PARAMETERS
    return None


def _is_parameter(item: tuple[Any, Any]) -> bool:
    name, value = item
    return isinstance(name, str) and isinstance(value, (str, int)) and not isinstance(value, bool)


def profile_fault(value: Any) -> str | None:
    """The rule that this profile name violates, or None where it is valid."""
    if isinstance(value, str) and value in PROFILES:
        return None
    return f"one of {', '.join(PROFILES)}" + did_you_mean(value, PROFILES)


def clients_fault(value: Any) -> str | None:
    """The rule that this number of clients violates, or None where it is valid."""
    return None if value is None or _is_count(value, 1) else "a whole number from 1"


def plugin_pool_fault(value: Any) -> str | None:
    """The rule that this size of the memory plugin's pool violates, or None where it is valid."""
    return None if _is_count(value, 0) else "a whole number from 0"


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def connections_fault(profile: Any, clients: Any, plugin_pool: Any) -> str | None:
    """What these fields together must be, or None where they add up, or one of them is wrong by itself."""
    if profile_fault(profile) or clients_fault(clients) or plugin_pool_fault(plugin_pool):
        return None
    chosen = PROFILES[profile]
    return chosen.connections_fault(Connections(chosen.clients if clients is None else clients, plugin_pool))


def flag_fault(value: Any) -> str | None:
    """The rule that this yes-or-no field violates, or None where it is valid."""
    return None if isinstance(value, bool) else "True or False"


TENANT_RULES: Mapping[str, Rule] = {
    "port": port_fault,
    "components": components_fault,
    "parameters": parameters_fault,
    "profile": profile_fault,
    "image": image_fault,
    "clients": clients_fault,
    "plugin_pool": plugin_pool_fault,
    "superuser_tcp": flag_fault,
    "allow_old_pgvector": flag_fault,
    "sidecar": sidecar_fault,
    "listen": listen_fault,
    "secrets": sources_fault,
}
TENANT_DEFAULTS: Mapping[str, Any] = {
    "parameters": {},
    "profile": "small",
    "image": Image(),
    "clients": None,
    "plugin_pool": PLUGIN_POOL,
    "superuser_tcp": False,
    "allow_old_pgvector": False,
    "sidecar": None,
    "listen": None,
    "secrets": {},
}
GROUP_FIELDS = frozenset(TENANT_RULES) - {"port"}  # what group data may set; the tenants of a ring cannot share a port
MACHINE_RULES: Mapping[str, Rule] = {
    "account": account_fault,
    "ssh_hostname": machine_name_fault,
    "ssh_port": ssh_port_fault,
    "ssh_user": text_fault,
    "ssh_key": text_fault,
    "ssh_known_hosts_file": text_fault,
    "sudo": flag_fault,
}
MACHINE_OPTIONAL = frozenset(MACHINE_RULES) - {"account"}


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """` (did you mean 'port'?)` where a known name is close to this one; "" otherwise."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
