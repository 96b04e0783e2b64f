"""From inventory lines to tenants and machines: every rule checked, all problems at once."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pgberth.model.image import Image, image_fault
from pgberth.model.listen import listen_fault
from pgberth.model.names import (
    account_fault,
    machine_name_fault,
    port_fault,
    ssh_port_fault,
    tenant_name_fault,
    text_fault,
)
from pgberth.model.problems import Problem, Refused
from pgberth.model.profile import PROFILES
from pgberth.model.sidecar import sidecar_fault
from pgberth.model.tenant import COMPONENTS, HEAD, Machine, Tenant
from pgberth.secrets.reference import sources_fault

_UNSET = object()


@dataclass(frozen=True)
class InventoryLine:
    """
    One line of an inventory.

    + kind: "machine" or "tenant"
    + where: file:line
    + fields: as written
    + defaults: (group, fields) from group data, weakest first
    + places: field -> file:line, where fields stand on lines of their own
    """

    kind: str
    name: Any
    where: str
    fields: Mapping[str, Any]
    rings: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """Where this field stands."""
        return self.places.get(name, self.where)

    def fault(self, name: str, says: str) -> Problem:
        """What is wrong with one of its fields."""
        fact = f"{self.at(name)}: {self.kind} {self.name!r}: {says}"
        return Problem(fact, f"correct {self.at(name)}; nothing was touched")


@dataclass(frozen=True)
class Fleet:
    """What an inventory asks for."""

    machines: Mapping[str, Machine] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)

    def tenants_on(self, machine: str) -> list[Tenant]:
        return [tenant for tenant in self.tenants.values() if tenant.machine.name == machine]


def load(lines: Iterable[InventoryLine]) -> Fleet:
    """
    The fleet these lines describe.

    Raises Refused with every problem of every line; nothing has been touched then.
    """
    lines = list(lines)
    problems = [*_duplicates(lines), *_unknown_fields(lines), *_default_problems(lines), *_faults(lines)]
    problems += [*_port_collisions(lines), *_sidecars_without_tables(lines)]
    if problems:
        raise Refused(problems)
    machines = {line.name: Machine(line.name, line.fields["account"]) for line in lines if line.kind == "machine"}
    tenants = {line.name: _tenant(line, machines) for line in lines if line.kind == "tenant"}
    return Fleet(machines, tenants)


# The rules, one a field: value -> what is wanted of it, or None where it holds.


def _components_fault(value: Any) -> str | None:
    rule = f"a set of {', '.join(COMPONENTS)}, or component -> version"
    if isinstance(value, str) or not isinstance(value, (set, frozenset, list, tuple, dict)) or not value:
        return rule
    for name in value:
        if name not in COMPONENTS:
            return rule + did_you_mean(name, COMPONENTS)
    if len(set(value)) < len(value):
        return f"{rule}; each once"
    if isinstance(value, dict):
        for target in value.values():
            number = isinstance(target, int) and not isinstance(target, bool) and 0 <= target <= 9999
            if not number and target != HEAD:
                return "component -> version, each a number from 0 to 9999 or 'head'"
    return None


def _parameters_fault(value: Any) -> str | None:
    rule = "component -> name -> text or whole number"
    if not isinstance(value, dict):
        return rule
    for component, given in value.items():
        if component not in COMPONENTS:
            return rule + did_you_mean(component, COMPONENTS)
        if not isinstance(given, dict):
            return rule
        for name, told in given.items():
            if not isinstance(name, str) or isinstance(told, bool) or not isinstance(told, (str, int)):
                return rule
    return None


def _profile_fault(value: Any) -> str | None:
    if isinstance(value, str) and value in PROFILES:
        return None
    return f"one of {', '.join(PROFILES)}" + did_you_mean(value, PROFILES)


def _flag_fault(value: Any) -> str | None:
    return None if isinstance(value, bool) else "True or False"


TENANT_RULES: Mapping[str, Callable[[Any], str | None]] = {
    "port": port_fault,
    "components": _components_fault,
    "parameters": _parameters_fault,
    "profile": _profile_fault,
    "image": image_fault,
    "superuser_tcp": _flag_fault,
    "allow_old_pgvector": _flag_fault,
    "sidecar": sidecar_fault,
    "listen": listen_fault,
    "secrets": sources_fault,
}
_TENANT_DEFAULTS = {
    "parameters": {},
    "profile": "small",
    "image": Image(),
    "superuser_tcp": False,
    "allow_old_pgvector": False,
    "sidecar": None,
    "listen": None,
    "secrets": {},
}
MACHINE_RULES: Mapping[str, Callable[[Any], str | None]] = {
    "account": account_fault,
    "ssh_hostname": machine_name_fault,
    "ssh_port": ssh_port_fault,
    "ssh_user": text_fault,
    "ssh_key": text_fault,
    "ssh_known_hosts_file": text_fault,
    "sudo": _flag_fault,
}
_OPTIONAL = frozenset(MACHINE_RULES) - {"account"}
_NOT_BY_GROUP = frozenset({"port"})  # a ring's tenants cannot share one


def _value(line: InventoryLine, name: str) -> Any:
    """The field's value: the line's own, or the strongest group's, or the default; _UNSET where there is none."""
    if name in line.fields:
        return line.fields[name]
    for _, fields in reversed(line.defaults):
        if name in fields:
            return fields[name]
    return _TENANT_DEFAULTS.get(name, _UNSET) if line.kind == "tenant" else _UNSET


def _faults(lines: list[InventoryLine]) -> Iterable[Problem]:
    machines = [line.name for line in lines if line.kind == "machine"]  # a list, since a wrong name may be unhashable
    for line in lines:
        name_rule = tenant_name_fault(line.name) if line.kind == "tenant" else machine_name_fault(line.name)
        if line.kind == "tenant" and line.name in machines:
            name_rule = "another: a machine of this inventory has it, and both are hosts to pyinfra"
        if name_rule:
            yield line.fault("name", f"name must be {name_rule}")
        if line.kind == "tenant" and line.fields.get("on") not in machines:
            on = line.fields.get("on")
            yield Problem(
                f"{line.at('on')}: tenant {line.name!r}: on: {on!r} is no machine of this inventory"
                + did_you_mean(on, map(str, machines)),
                "name one that stands in `machines`; in Python: on=machine(...), with its .host in that list",
            )
        for name, rule in (TENANT_RULES if line.kind == "tenant" else MACHINE_RULES).items():
            value = _value(line, name)
            if value is _UNSET and line.kind == "machine" and name in _OPTIONAL:
                continue
            if value is _UNSET:
                yield line.fault(name, f"{name} is missing")
            elif desired := rule(value):
                # Who writes a password there by mistake does not find it in a log.
                told = "" if name == "secrets" else f" {value!r}"
                yield line.fault(name, f"{name}{told} must be {desired}")


def _unknown_fields(lines: list[InventoryLine]) -> Iterable[Problem]:
    for line in lines:
        known = {*TENANT_RULES, "on"} if line.kind == "tenant" else set(MACHINE_RULES)
        for name in line.fields:
            if name not in known:
                yield line.fault(name, f"unknown field {name!r}{did_you_mean(name, known)}")


def _default_problems(lines: list[InventoryLine]) -> Iterable[Problem]:
    groups = {group: fields for line in lines for group, fields in line.defaults}
    allowed = set(TENANT_RULES) - _NOT_BY_GROUP
    for group, fields in groups.items():
        for name in fields:
            if name not in allowed:
                fact = f"group_data of {group!r}: tenant_defaults: unknown field {name!r}{did_you_mean(name, allowed)}"
                yield Problem(fact, f"known there: {', '.join(sorted(allowed))}")


def _duplicates(lines: list[InventoryLine]) -> Iterable[Problem]:
    seen: dict[Any, list[str]] = defaultdict(list)
    for line in lines:
        seen[line.kind, str(line.name)].append(line.where)
    for (kind, name), places in seen.items():
        if len(places) > 1:
            yield Problem(f"{kind} {name!r} stands twice: {' and '.join(places)}", "rename or remove one of them")


def _port_collisions(lines: list[InventoryLine]) -> Iterable[Problem]:
    users: dict[tuple[str, int], list[str]] = defaultdict(list)
    for line in lines:
        if line.kind == "tenant":
            for user, port in _ports(line):
                users[str(line.fields.get("on")), port].append(user)
    for (machine, port), names in users.items():
        if len(set(names)) > 1:
            fact = f"port {port} on {machine} is asked for by {' and '.join(names)}"
            free = next_free(port, {taken for on, taken in users if on == machine})
            yield Problem(fact, f"give each its own; the next that no tenant of {machine} asks for is {free}")


def _ports(line: InventoryLine) -> Iterable[tuple[str, int]]:
    """(who, port) of every port it asks for, where that is one."""
    sidecar = _value(line, "sidecar")
    asked = {f"{line.name!r} ({line.at('port')})": _value(line, "port")}
    asked[f"the sidecar of {line.name!r} ({line.at('sidecar')})"] = getattr(sidecar, "port", None)
    return [(user, port) for user, port in asked.items() if port_fault(port) is None]


def _sidecars_without_tables(lines: list[InventoryLine]) -> Iterable[Problem]:
    for line in lines:
        components = _value(line, "components")
        if line.kind != "tenant" or _value(line, "sidecar") is None or _components_fault(components):
            continue
        if "memory_plugin" not in components or (isinstance(components, dict) and components["memory_plugin"] == 0):
            yield line.fault("sidecar", "sidecar needs the tables of memory_plugin among its components")


def next_free(port: int, taken: Collection[int]) -> int:
    """The first port after this one that nobody has; after the highest the count goes on at 1024."""
    everywhere = [*range(port + 1, 65536), *range(1024, port)]
    return next((free for free in everywhere if free not in taken), port)


def _tenant(line: InventoryLine, machines: Mapping[str, Machine]) -> Tenant:
    components = _value(line, "components")
    targets = dict(components) if isinstance(components, dict) else dict.fromkeys(components, HEAD)
    return Tenant(
        name=line.name,
        machine=machines[line.fields["on"]],
        port=_value(line, "port"),
        # A set has no order of its own.
        components=targets if not isinstance(components, (set, frozenset)) else _in_order(targets),
        parameters=_value(line, "parameters"),
        profile_name=_value(line, "profile"),
        image=_value(line, "image"),
        rings=line.rings,
        superuser_tcp=_value(line, "superuser_tcp"),
        allow_old_pgvector=_value(line, "allow_old_pgvector"),
        sidecar=_value(line, "sidecar"),
        listen=_value(line, "listen"),
        secrets=_value(line, "secrets"),
    )


def _in_order(targets: Mapping[str, Any]) -> dict[str, Any]:
    return {name: targets[name] for name in COMPONENTS if name in targets}


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
