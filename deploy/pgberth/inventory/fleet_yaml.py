"""
Reads a fleet from YAML into the lines of an inventory. It accepts only the parts of YAML 1.2 that a fleet needs.

Nothing is guessed. A key that appears twice, an unknown field, an anchor, a tag, a number that is not in plain digits:
each is a problem with its file and line, and all of them are found. `rules` says what a value must be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pgberth.inventory.declare import PROBLEMS, HostLine, MachineLine, tenant_line
from pgberth.inventory.rules import did_you_mean
from pgberth.model.image import Image
from pgberth.model.listen import Listen
from pgberth.model.problems import Problem, Refused
from pgberth.model.sidecar import Sidecar
from pgberth.model.tenant import DEFAULT_ACCOUNT

RING_RULE = "1 to 31 of a-z, 0-9 and _, starting with a letter, and neither all nor machines"
_RING = re.compile(r"(?!(all|machines)$)[a-z][a-z0-9_]{0,30}")
_TAG = "tag:yaml.org,2002:"
_KINDS = frozenset(_TAG + kind for kind in ("str", "int", "bool", "null", "float", "timestamp", "map", "seq"))
_DIGITS = re.compile(r"0|-?[1-9][0-9]*")
_FORM = "see inventories/fleet_example.yaml for the form of one: runbooks/inventory-is-refused.md"

Groups = dict[str, list[HostLine]]


def groups_from(text: str, name: str) -> Groups:
    """
    Group -> its hosts: `machines`, and each ring.

    + name: what to call the file in messages

    Problems are kept on a host, so that they are reported together with those that the rules find. Raises Refused where
    there is no host.
    """
    reading = _Reading(name)
    groups = reading.groups(_composed(text, name))
    first = next((hosts[0] for hosts in groups.values() if hosts), None)
    problems = tuple(dict.fromkeys(reading.problems))
    if first is None:
        raise Refused(problems or [Problem(f"{name}: it has no machine", _FORM)])
    first[1][PROBLEMS] = [(problem.fact, problem.hint) for problem in problems]
    return groups


def _composed(text: str, name: str) -> Node:
    """The text as a tree of nodes. Raises Refused with the parser's message."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%"):  # `%YAML 1.1` would have NO read as False and 54:32 as 3272
            raise Refused.because(f"{name}:{number}: a directive: {line}", "remove it; the file is read as YAML 1.2")
    try:
        tree = YAML(typ="safe", pure=True).compose(text)
    except RecursionError:
        raise Refused.because(f"{name}: it is nested too deeply", _FORM) from None
    except YAMLError as error:
        raise Refused.because(f"{name}:{_line(error, text)}: {_message(error)}", f"correct it; {_FORM}") from None
    if not isinstance(tree, MappingNode):
        raise Refused.because(f"{name}: it must be `machines:` and `rings:`", _FORM)
    return tree


def _line(error: YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark is not None else text.count("\n", 0, getattr(error, "position", 0)) + 1


def _message(error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError):
        return ", ".join(part for part in (error.context, error.problem) if part)
    return str(getattr(error, "reason", error))


@dataclass(frozen=True)
class _Entry:
    """The value of a key in a mapping. + where: the key's file:line"""

    where: str
    value: Node


@dataclass
class _Reading:
    """Walks over the tree and collects problems."""

    name: str
    problems: list[Problem] = field(default_factory=list)

    def groups(self, tree: Node) -> Groups:
        top = self._mapping(tree, "the file", known=("machines", "rings"))
        machines = dict(self._machines(top["machines"].value)) if "machines" in top else {}
        groups: Groups = {"machines": [machine.host for machine in machines.values()]}
        rings = self._mapping(top["rings"].value, "rings") if "rings" in top else {}
        for ring, entry in rings.items():
            if not _RING.fullmatch(ring):
                self._refuse(entry.where, f"ring {ring!r}: name must be {RING_RULE}")
                continue
            groups[ring] = list(self._tenants(entry.value, ring, machines))
        return groups

    def _machines(self, node: Node) -> Iterator[tuple[str, MachineLine]]:
        for name, entry in self._mapping(node, "machines").items():
            fields, places = self._fields(entry.value, f"machine {name!r}")
            yield name, MachineLine(name, {"account": DEFAULT_ACCOUNT, **fields}, entry.where, places)

    def _tenants(self, node: Node, ring: str, machines: Mapping[str, MachineLine]) -> Iterator[HostLine]:
        for name, entry in self._mapping(node, f"ring {ring!r}").items():
            fields, places = self._fields(entry.value, f"tenant {name!r}")
            on = fields.pop("on", None)
            machine = machines.get(on, on) if isinstance(on, str) else on
            yield tenant_line(name, machine, fields, entry.where, places)

    def _fields(self, node: Node, whose: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Field -> value, and field -> file:line."""
        entries = self._mapping(node, whose)
        values = {name: self._value(entry.value, f"{whose}: {name}") for name, entry in entries.items()}
        for name, kind in (("image", Image), ("sidecar", Sidecar), ("listen", Listen)):
            if isinstance(values.get(name), dict):
                values[name] = self._object(kind, values[name], entries[name].where, f"{whose}: {name}")
        return values, {name: entry.where for name, entry in entries.items()}

    def _object(
        self, kind: type[Image] | type[Sidecar] | type[Listen], values: dict[str, Any], where: str, whose: str
    ) -> Any:
        known = [one.name for one in dataclass_fields(kind)]
        for name in set(values) - set(known):
            self._refuse(where, f"{whose}: unknown field {name!r}{did_you_mean(name, known)}")
        return kind(**{name: value for name, value in values.items() if name in known})

    def _mapping(self, node: Node, what: str, known: tuple[str, ...] = ()) -> dict[str, _Entry]:
        """
        Key -> entry.

        + known: the keys, where exactly these must be there; empty where any may be
        """
        if isinstance(node, ScalarNode) and node.tag == f"{_TAG}null" and not known:
            return {}
        if self._refused(node, what):
            return {}
        if not isinstance(node, MappingNode):
            self._refuse(self._at(node), f"{what} must be name: value, line by line")
            return {}
        found: dict[str, _Entry] = {}
        for key, value in node.value:
            name = self._key(key, what)
            if name is None:
                continue
            if name in found:
                self._refuse(self._at(key), f"{what}: {name!r} appears twice: here and {found[name].where}")
            elif known and name not in known:
                self._refuse(self._at(key), f"{what}: unknown {name!r}{did_you_mean(name, known)}")
            else:
                found[name] = _Entry(self._at(key), value)
        for name in known:
            if name not in found:
                self._refuse(self._at(node), f"{what}: `{name}:` is missing")
        return found

    def _key(self, node: Node, what: str) -> str | None:
        if self._refused(node, what):
            return None
        if isinstance(node, ScalarNode) and node.tag == f"{_TAG}str":
            return str(node.value)
        if isinstance(node, ScalarNode):
            self._refuse(self._at(node), f"{what}: {node.value} is not a string to YAML", "put it in quotes")
        else:
            self._refuse(self._at(node), f"{what}: a list or a mapping in place of a name")
        return None

    def _value(self, node: Node, what: str) -> Any:
        """The value as a Python object; None for what is refused."""
        if self._refused(node, what):
            return None
        if isinstance(node, MappingNode):
            return {name: self._value(entry.value, what) for name, entry in self._mapping(node, what).items()}
        if isinstance(node, SequenceNode):
            return [self._value(member, what) for member in node.value]
        return self._scalar(node, what)

    def _scalar(self, node: Node, what: str) -> Any:
        kind, text = str(node.tag).removeprefix(_TAG), str(node.value)
        # YAML 1.2's core schema has no dates: a date is text.
        if kind in ("str", "timestamp"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "int" and _DIGITS.fullmatch(text):
            return int(text)
        fact = f"{what}: {text} is neither a string nor a plain integer to YAML"
        self._refuse(self._at(node), fact, "write a plain integer, or put it in quotes; nothing was touched")
        return text

    def _refused(self, node: Node, what: str) -> bool:
        """Whether the node has an anchor, a merge key or a tag, none of which a fleet needs; then it is a problem."""
        if node.anchor is not None:
            self._refuse(self._at(node), f"{what}: an anchor (&{node.anchor})", "write the value out in each place")
            return True
        if node.tag == f"{_TAG}merge":
            self._refuse(self._at(node), f"{what}: << is of YAML 1.1", "write the fields out in each place")
            return True
        if node.tag not in _KINDS:
            self._refuse(self._at(node), f"{what}: a tag ({node.tag})", "remove it")
            return True
        return False

    def _at(self, node: Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def _refuse(self, where: str, says: str, hint: str = "") -> None:
        self.problems.append(Problem(f"{where}: {says}", hint or f"correct {where}; nothing was touched"))
