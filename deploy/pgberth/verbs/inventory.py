"""The inventory pyinfra has loaded, as a fleet: read once, every rule checked, before anything is touched."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pyinfra import host, inventory, state
from pyinfra.api.exceptions import DeployError

from pgberth.database import tls
from pgberth.migrations.operations import parameter_problems
from pgberth.model.declare import DECLARED, PROBLEMS
from pgberth.model.load import TENANT_RULES, Fleet, Line, did_you_mean, load
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Machine, Tenant
from pgberth.sources import Given, given

_PYINFRAS = ("_", "ssh_")  # group data with these beginnings is pyinfra's own, or private to its file
_A_SLIP = 0.85  # likeness of names that can only be one meant for the other; inventories share a folder of group data
_GIVEN: dict[int, Mapping[str, Given]] = {}
_CERTIFICATES: dict[int, Mapping[str, Mapping[str, str]]] = {}
DEFAULTS = "tenant_defaults"  # the name in group data under which a ring sets fields of its tenants


def fleet(*switches: str) -> Fleet:
    """
    The fleet of this run.

    + switches: the --data keys the verb knows

    Raises DeployError with every problem at once; pyinfra then stops the whole run, before its first operation.
    """
    try:
        return _fleet(inventory_key(), switches)
    except Refused as refused:
        raise DeployError(f"the inventory is refused:\n{refused}") from None


def inventory_key() -> int:
    """One inventory a process on the command line; tests load several."""
    return id(inventory.hosts)


@cache
def _fleet(_: int, switches: tuple[str, ...]) -> Fleet:
    problems = [*_unknown_switches(switches), *_file_problems(), *_group_data_problems()]
    try:
        found = load(lines())
    except Refused as refused:
        raise Refused([*problems, *refused.problems]) from None
    problems += [problem for tenant in found.tenants.values() for problem in parameter_problems(tenant)]
    if not found.tenants and not problems:
        problems = [Problem("the inventory declares no tenant", "see inventories/local.py for the form of one")]
    if problems:
        raise Refused(problems)
    return found


def lines() -> list[Line]:
    """Every line of the inventory, with what group data says for its ring."""
    return [line for name in inventory.hosts for line in _lines_of(name)]


def _file_problems() -> Iterator[Problem]:
    """What was wrong with the file in which the lines stand."""
    for name in inventory.hosts:
        for fact, hint in inventory.get_host_data(name).get(PROBLEMS, ()):
            yield Problem(fact, hint)


def _lines_of(name: str) -> Iterator[Line]:
    here = inventory.get_host(name)
    data = inventory.get_host_data(name)
    rings = tuple(group for group in here.groups if group in _declared_groups(here.groups))
    for key, value in data.items():
        if key.startswith(DECLARED):
            kind, told, fields, places = value
            yield Line(kind, told, key.removeprefix(DECLARED), fields, rings, tuple(_defaults(here.groups)), places)


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


def passwords_given(found: Fleet) -> Mapping[str, Given]:
    """
    Tenant -> the passwords that come from elsewhere, of those that this run is for; each source is asked once a run.

    Raises DeployError with every one that does not resolve, before the run's first operation.
    """
    key = inventory_key()
    try:
        if key not in _GIVEN:
            _GIVEN[key] = given([tenant for name, tenant in found.tenants.items() if _in_limit(name)])
    except Refused as refused:
        raise DeployError(f"passwords from elsewhere are not to be had:\n{refused}") from None
    return _GIVEN[key]


def certificates_given(found: Fleet) -> Mapping[str, Mapping[str, str]]:
    """The same for certificates: tenant -> kind of file -> its text. Raises DeployError with all that do not do."""
    key = inventory_key()
    try:
        if key not in _CERTIFICATES:
            _CERTIFICATES[key] = tls.given([tenant for name, tenant in found.tenants.items() if _in_limit(name)])
    except Refused as refused:
        raise DeployError(f"certificates are not to be had:\n{refused}") from None
    return _CERTIFICATES[key]


def _in_limit(name: str) -> bool:
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
    if not any(map(_in_limit, names)):
        fact = f"{verb}: it is for {', '.join(names)}, and --limit leaves none of them"
        raise DeployError(str(Problem(fact, "nothing was done; run it again without --limit, or with one of those")))
