"""Reads the inventory that pyinfra has loaded into a fleet, and checks every rule, before anything is touched."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pyinfra import host, inventory, state
from pyinfra.api.exceptions import DeployError

from pgberth.inventory.load import Fleet, InventoryLine, declared_lines, file_problems, load
from pgberth.inventory.rules import TENANT_RULES, did_you_mean
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Machine, Tenant

_FOREIGN = ("_", "ssh_")  # prefixes of group data that is pyinfra's own, or private to its file
# Two names this similar count as one name misspelt; several inventories share a folder of group data.
_MISSPELT = 0.85
DEFAULTS = "tenant_defaults"  # the variable in group data that sets fields of a ring's tenants


def read_fleet(*switches: str) -> tuple[Fleet, list[Problem]]:
    """
    The fleet of the inventory that pyinfra has loaded, and the problems that are not of its lines.

    + switches: the --data keys that the verb knows

    Raises Refused with every problem at once where the lines have problems.
    """
    problems = [*_unknown_switches(switches), *_file_problems(), *_group_data_problems()]
    try:
        return load(lines()), problems
    except Refused as refused:
        raise Refused([*problems, *refused.problems]) from None


def lines() -> list[InventoryLine]:
    """Every line of the inventory, with the group data of its ring."""
    return [line for name in inventory.hosts for line in _lines_of(name)]


def _file_problems() -> Iterator[Problem]:
    for name in inventory.hosts:
        yield from file_problems(inventory.get_host_data(name))


def _lines_of(name: str) -> Iterator[InventoryLine]:
    groups = inventory.get_host(name).groups
    rings = tuple(group for group in groups if group in _declared_groups(groups))
    return declared_lines(inventory.get_host_data(name), rings, tuple(_defaults(groups)))


def _declared_groups(groups: Iterable[str]) -> list[str]:
    """The rings: not `all`, not the connector's group, not the group that pyinfra names after the file."""
    everything = set(inventory.hosts)
    members = {group: {member.name for member in inventory.get_group(group)} for group in groups}
    return [group for group in groups if not group.startswith("@") and members[group] != everything]


def _defaults(groups: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    # group_data/all.py is for every host, but pyinfra does not list `all` among a host's groups.
    data_of_groups = [("all", inventory.get_data()), *((group, inventory.get_group_data(group)) for group in groups)]
    for group, fields in data_of_groups:
        data = fields.get(DEFAULTS)
        if data is not None:
            yield group, data if isinstance(data, dict) else {DEFAULTS: data}


def _group_data_problems() -> Iterator[Problem]:
    """Group data that would have no effect: under an unknown variable, or for an unknown group."""
    group_data = {"all": inventory.get_data(), **inventory.group_data}
    filled = [group for group, members in inventory.groups.items() if members]
    for group, fields in group_data.items():
        for name in fields:
            if name != DEFAULTS and not name.startswith(_FOREIGN):
                within = f" (it belongs in {DEFAULTS})" if name in TENANT_RULES else did_you_mean(name, [DEFAULTS])
                hint = f"known there: {DEFAULTS}, a dict of tenants' fields; and pyinfra's own, such as ssh_user"
                yield Problem(f"group_data of {group!r}: unknown {name!r}{within}", hint)
        meant = difflib.get_close_matches(group, filled, n=1, cutoff=_MISSPELT)
        if fields and group != "all" and group not in filled and meant:
            fact = f"group_data of {group!r}: the inventory has no host in that group (did you mean {meant[0]!r}?)"
            yield Problem(fact, "rename the file to the group's name, or remove it")


def _unknown_switches(switches: tuple[str, ...]) -> Iterator[Problem]:
    for name in inventory.get_override_data():
        if name in switches or name.startswith("ssh_"):
            continue
        guess = did_you_mean(name, switches)
        known = ", ".join(switches) or "nothing"
        hint = f"--data of this deploy takes: {known}; a tenant's fields belong in the inventory"
        yield Problem(f"--data {name}: unknown{guess}", hint)


def in_limit(name: str) -> bool:
    """Whether the run's --limit includes this host."""
    return bool(state.is_host_in_limit(inventory.get_host(name)))


def machine_here(found: Fleet) -> Machine | None:
    """The machine that the current host is; None where it is a tenant."""
    return found.machines.get(host.name)


def tenant_here(found: Fleet) -> Tenant | None:
    """The tenant that the current host is; None where it is a machine."""
    return found.tenants.get(host.name)


def number(name: str, default: int, *, least: int = 0, most: int) -> int:
    """
    A --data switch that is a whole number from `least` to `most`.

    Raises DeployError for anything else.
    """
    value = inventory.get_override_data().get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _refused(f"--data {name}={value!r} must be a whole number from {least} to {most}")
    return value


def switch(name: str, default: bool) -> bool:
    """
    A yes-or-no --data switch.

    Raises DeployError for anything but true or false.
    """
    value = inventory.get_override_data().get(name, default)
    if not isinstance(value, bool):
        raise _refused(f"--data {name}={value!r} must be true or false")
    return value


def _refused(fact: str) -> DeployError:
    return DeployError(str(Problem(fact, "nothing was done; run it again with such a value, or without the switch")))


def one_concerned(verb: str, names: Collection[str]) -> None:
    """
    Check that the run's --limit leaves a tenant that the verb is for.

    + names: the tenants that the verb is for

    Raises DeployError where it leaves none: pyinfra would call that a success.
    """
    if not any(map(in_limit, names)):
        fact = f"{verb} is for {', '.join(names)}, and --limit excludes all of them"
        raise DeployError(str(Problem(fact, "nothing was done; run it again without --limit, or with one of those")))
