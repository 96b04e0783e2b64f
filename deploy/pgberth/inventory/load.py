"""From inventory lines to tenants and machines: every rule is checked, and all problems are reported at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pgberth.inventory.declare import DECLARED, PROBLEMS
from pgberth.inventory.rules import (
    GROUP_FIELDS,
    MACHINE_OPTIONAL,
    MACHINE_RULES,
    TENANT_DEFAULTS,
    TENANT_RULES,
    components_fault,
    connections_fault,
    did_you_mean,
)
from pgberth.model.names import is_reserved, machine_name_fault, port_fault, tenant_name_fault
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import COMPONENTS, HEAD, MEMORY_PLUGIN, Machine, Tenant

_UNSET = object()


@dataclass(frozen=True)
class InventoryLine:
    """
    One line of an inventory.

    + kind: "machine" or "tenant"
    + where: file:line
    + fields: as written
    + defaults: (group, fields) from group data, weakest first
    + places: field -> file:line, for fields on lines of their own
    """

    kind: str
    name: Any
    where: str
    fields: Mapping[str, Any]
    rings: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """The file:line of this field."""
        return self.places.get(name, self.where)

    def fault(self, name: str, says: str) -> Problem:
        """A problem with one of its fields."""
        fact = f"{self.at(name)}: {self.kind} {self.name!r}: {says}"
        return Problem(fact, f"correct {self.at(name)}; nothing was touched")

    def value(self, name: str) -> Any:
        """The field's value: the line's own, or the strongest group's, or the default; _UNSET where there is none."""
        if name in self.fields:
            return self.fields[name]
        for _, fields in reversed(self.defaults):
            if name in fields:
                return fields[name]
        return TENANT_DEFAULTS.get(name, _UNSET) if self.kind == "tenant" else _UNSET


@dataclass(frozen=True)
class Fleet:
    """What an inventory asks for, by name."""

    machines: Mapping[str, Machine] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)

    def tenants_on(self, machine: str) -> list[Tenant]:
        """The tenants of this machine, in the inventory's order."""
        return [tenant for tenant in self.tenants.values() if tenant.machine.name == machine]


def declared_lines(
    data: Mapping[str, Any], rings: tuple[str, ...], defaults: tuple[tuple[str, Mapping[str, Any]], ...] = ()
) -> Iterator[InventoryLine]:
    """
    The inventory's lines for one host.

    + data: of the host, as declare.py made it
    """
    for key, value in data.items():
        if key.startswith(DECLARED):
            kind, name, fields, places = value
            yield InventoryLine(kind, name, key.removeprefix(DECLARED), fields, rings, defaults, places)


def file_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """The problems of the inventory's file that are kept on this host's data."""
    for fact, hint in data.get(PROBLEMS, ()):
        yield Problem(fact, hint)


def load(lines: Iterable[InventoryLine]) -> Fleet:
    """
    The fleet that these lines describe.

    Raises Refused with every problem of every line; nothing has been touched then.
    """
    lines = list(lines)
    machines = [line.name for line in lines if line.kind == "machine"]  # a list, since a wrong name may be unhashable
    problems = [*_duplicates(lines), *_unknown_fields(lines), *_group_problems(lines)]
    problems += [problem for line in lines for problem in _line_problems(line, machines)]
    problems += [*_port_collisions(lines), *_sidecars_without_tables(lines), *_connections_problems(lines)]
    if problems:
        raise Refused(problems)
    return _fleet(lines)


def _line_problems(line: InventoryLine, machines: list[Any]) -> Iterator[Problem]:
    """
    What is wrong with a line by itself.

    + machines: the names of the inventory's machines
    """
    if says := _name_fault(line, machines):
        yield line.fault("name", says)
    on = line.fields.get("on")
    if line.kind == "tenant" and on not in machines:
        fact = f"{line.at('on')}: tenant {line.name!r}: on: {on!r} is not a machine of this inventory"
        hint = "name a machine that is in `machines`; in Python: on=machine(...), with its .host in that list"
        yield Problem(fact + did_you_mean(on, map(str, machines)), hint)
    for name, rule in (TENANT_RULES if line.kind == "tenant" else MACHINE_RULES).items():
        value = line.value(name)
        if value is _UNSET and line.kind == "machine" and name in MACHINE_OPTIONAL:
            continue
        if value is _UNSET:
            yield line.fault(name, f"{name} is missing")
        elif desired := rule(value):
            # A password that an operator wrote there by mistake must not appear in a log.
            shown = "" if name == "secrets" else f" {value!r}"
            yield line.fault(name, f"{name}{shown} must be {desired}")


def _name_fault(line: InventoryLine, machines: list[Any]) -> str | None:
    """What is wrong with the line's name, or None."""
    tenant = line.kind == "tenant"
    if rule := (tenant_name_fault if tenant else machine_name_fault)(line.name):
        return f"name must be {rule}"
    if tenant and is_reserved(line.name):
        return "this name is reserved; choose another"
    if tenant and line.name in machines:
        return "a machine of this inventory has this name, and pyinfra knows both as hosts; choose another"
    return None


def _unknown_fields(lines: list[InventoryLine]) -> Iterator[Problem]:
    for line in lines:
        known = {*TENANT_RULES, "on"} if line.kind == "tenant" else set(MACHINE_RULES)
        for name in line.fields:
            if name not in known:
                yield line.fault(name, f"unknown field {name!r}{did_you_mean(name, known)}")


def _group_problems(lines: list[InventoryLine]) -> Iterator[Problem]:
    groups = {group: fields for line in lines for group, fields in line.defaults}
    for group, fields in groups.items():
        for name in fields:
            if name not in GROUP_FIELDS:
                guess = did_you_mean(name, GROUP_FIELDS)
                fact = f"group_data of {group!r}: tenant_defaults: unknown field {name!r}{guess}"
                yield Problem(fact, f"known there: {', '.join(sorted(GROUP_FIELDS))}")


def _duplicates(lines: list[InventoryLine]) -> Iterator[Problem]:
    places: dict[Any, list[str]] = defaultdict(list)
    for line in lines:
        places[line.kind, str(line.name)].append(line.where)
    for (kind, name), where in places.items():
        if len(where) > 1:
            yield Problem(f"{kind} {name!r} is declared twice: {' and '.join(where)}", "rename or remove one of them")


def _port_collisions(lines: list[InventoryLine]) -> Iterator[Problem]:
    users: dict[tuple[str, int], list[str]] = defaultdict(list)
    for line in lines:
        if line.kind == "tenant":
            for user, port in _ports(line):
                users[str(line.fields.get("on")), port].append(user)
    for (machine, port), names in users.items():
        if len(set(names)) > 1:
            free = next_free(port, {taken for on, taken in users if on == machine})
            hint = f"give each a different one; the next port that no tenant of {machine} uses is {free}"
            yield Problem(f"port {port} on {machine} is used by {' and '.join(names)}", hint)


def _ports(line: InventoryLine) -> Iterable[tuple[str, int]]:
    """(user, port) of every valid port that the line asks for."""
    sidecar = line.value("sidecar")
    ports = {f"{line.name!r} ({line.at('port')})": line.value("port")}
    ports[f"the sidecar of {line.name!r} ({line.at('sidecar')})"] = getattr(sidecar, "port", None)
    return [(user, port) for user, port in ports.items() if port_fault(port) is None]


def _sidecars_without_tables(lines: list[InventoryLine]) -> Iterator[Problem]:
    for line in lines:
        components = line.value("components")
        if line.kind != "tenant" or line.value("sidecar") is None or components_fault(components):
            continue
        if MEMORY_PLUGIN not in components or (isinstance(components, dict) and components[MEMORY_PLUGIN] == 0):
            yield line.fault("sidecar", "sidecar needs the tables of memory_plugin among its components")


def _connections_problems(lines: list[InventoryLine]) -> Iterator[Problem]:
    for line in lines:
        names = ("profile", "clients", "plugin_pool")
        if line.kind == "tenant" and (says := connections_fault(*map(line.value, names))):
            fact = line.fault(next((name for name in names[1:] if name in line.fields), "profile"), says).fact
            yield Problem(fact, "ask for fewer clients or a smaller plugin_pool, or choose a larger profile")


def next_free(port: int, taken: Collection[int]) -> int:
    """The first port after this one that is not taken; after 65535 comes 1024."""
    everywhere = [*range(port + 1, 65536), *range(1024, port)]
    return next((free for free in everywhere if free not in taken), port)


def _fleet(lines: list[InventoryLine]) -> Fleet:
    machines = {line.name: Machine(line.name, line.fields["account"]) for line in lines if line.kind == "machine"}
    tenants = {line.name: _tenant(line, machines) for line in lines if line.kind == "tenant"}
    return Fleet(machines, tenants)


def _tenant(line: InventoryLine, machines: Mapping[str, Machine]) -> Tenant:
    return Tenant(
        name=line.name,
        machine=machines[line.fields["on"]],
        port=line.value("port"),
        components=_targets(line.value("components")),
        parameters=line.value("parameters"),
        profile_name=line.value("profile"),
        image=line.value("image"),
        rings=line.rings,
        clients=line.value("clients"),
        plugin_pool=line.value("plugin_pool"),
        superuser_tcp=line.value("superuser_tcp"),
        allow_old_pgvector=line.value("allow_old_pgvector"),
        sidecar=line.value("sidecar"),
        listen=line.value("listen"),
        secrets=line.value("secrets"),
    )


def _targets(components: Any) -> dict[str, int | str]:
    """Component -> target version. A set has no order, so its components take the order in which they are applied."""
    targets = dict(components) if isinstance(components, dict) else dict.fromkeys(components, HEAD)
    if isinstance(components, (set, frozenset)):
        return {name: targets[name] for name in COMPONENTS if name in targets}
    return targets
