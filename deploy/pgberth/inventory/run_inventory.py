"""The inventory pyinfra has loaded, as a fleet: read once, every rule checked, before anything is touched."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pyinfra import host, inventory, state
from pyinfra.api.exceptions import DeployError

from pgberth.inventory.declare import DECLARED, PROBLEMS
from pgberth.inventory.load import TENANT_RULES, Fleet, InventoryLine, did_you_mean, load
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Machine, Tenant

_PYINFRAS = ("_", "ssh_")  # group data with these beginnings is pyinfra's own, or private to its file
_A_SLIP = 0.85  # likeness of names that can only be one meant for the other; inventories share a folder of group data
DEFAULTS = "tenant_defaults"  # the name in group data under which a ring sets fields of its tenants


def read_fleet(*switches: str) -> tuple[Fleet, list[Problem]]:
    """
    The fleet of the inventory that pyinfra has loaded, and what is wrong beside its lines.

    + switches: the --data keys the verb knows

    Raises Refused with every problem at once where the lines themselves are wrong.
    """
    problems = [*_unknown_switches(switches), *_file_problems(), *_group_data_problems()]
    try:
        return load(lines()), problems
    except Refused as refused:
        raise Refused([*problems, *refused.problems]) from None


def lines() -> list[InventoryLine]:
    """Every line of the inventory, with what group data says for its ring."""
    return [line for name in inventory.hosts for line in _lines_of(name)]


def _file_problems() -> Iterator[Problem]:
    """What was wrong with the file in which the lines stand."""
    for name in inventory.hosts:
        for fact, hint in inventory.get_host_data(name).get(PROBLEMS, ()):
            yield Problem(fact, hint)


def _lines_of(name: str) -> Iterator[InventoryLine]:
    here = inventory.get_host(name)
    data = inventory.get_host_data(name)
    rings = tuple(group for group in here.groups if group in _declared_groups(here.groups))
    for key, value in data.items():
        if key.startswith(DECLARED):
            kind, told, fields, places = value
            yield InventoryLine(
                kind, told, key.removeprefix(DECLARED), fields, rings, tuple(_defaults(here.groups)), places
            )


def _declared_groups(groups: Iterable[str]) -> list[str]:
    """Rings: not `all`, not the connector's own group, not the one pyinfra makes of the file's name."""
    everything = set(inventory.hosts)
    members = {group: {member.name for member in inventory.get_group(group)} for group in groups}
    return [group for group in groups if not group.startswith("@") and members[group] != everything]


def _defaults(groups: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    # group_data/all.py holds for every host, and is no group of theirs to pyinfra.
    told = [("all", inventory.get_data()), *((group, inventory.get_group_data(group)) for group in groups)]
    for group, fields in told:
        data = fields.get(DEFAULTS)
        if data is not None:
            yield group, data if isinstance(data, dict) else {DEFAULTS: data}


def _group_data_problems() -> Iterator[Problem]:
    """What group data says that nobody would hear: another name than the one we read, or another group's."""
    told = {"all": inventory.get_data(), **inventory.group_data}
    filled = [group for group, members in inventory.groups.items() if members]
    for group, fields in told.items():
        for name in fields:
            if name != DEFAULTS and not name.startswith(_PYINFRAS):
                within = f" (it belongs into {DEFAULTS})" if name in TENANT_RULES else did_you_mean(name, [DEFAULTS])
                hint = f"known there: {DEFAULTS}, a dict of tenants' fields; and pyinfra's own, such as ssh_user"
                yield Problem(f"group_data of {group!r}: unknown {name!r}{within}", hint)
        meant = difflib.get_close_matches(group, filled, n=1, cutoff=_A_SLIP)
        if fields and group != "all" and group not in filled and meant:
            fact = f"group_data of {group!r}: the inventory has no host in such a group (did you mean {meant[0]!r}?)"
            yield Problem(fact, "rename the file to the group's name, or remove it")


def _unknown_switches(switches: tuple[str, ...]) -> Iterator[Problem]:
    for name in inventory.get_override_data():
        if name in switches or name.startswith("ssh_"):
            continue
        guess = did_you_mean(name, switches)
        hint = (
            f"this verb knows: {', '.join(switches) or 'none'}; tenants are changed in the inventory, never by --data"
        )
        yield Problem(f"--data {name}: unknown{guess}", hint)


def in_limit(name: str) -> bool:
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
    return DeployError(str(Problem(fact, "nothing was done; run it again with such a value, or without")))


def one_concerned(verb: str, names: Collection[str]) -> None:
    """
    The run's --limit leaves the verb somebody to work on.

    + names: the tenants that it is for

    Raises DeployError where it leaves none: pyinfra would call that a success.
    """
    if not any(map(in_limit, names)):
        fact = f"{verb}: it is for {', '.join(names)}, and --limit leaves none of them"
        raise DeployError(str(Problem(fact, "nothing was done; run it again without --limit, or with one of those")))
