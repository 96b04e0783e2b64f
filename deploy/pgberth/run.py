"""The state of one run of a verb. It is one object, so that no module has mutable globals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

Part = TypeVar("Part")


@dataclass
class Run:
    """
    One run, from reading the inventory to the closing table.

    + inventory: the argument as typed
    + data: --data as typed; pyinfra parses the values, so that a fingerprint such as 1e5 becomes a number
    + interrupted: whether the operator pressed Ctrl-C
    """

    inventory: str = ""
    data: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    _parts: dict[type[Any], Any] = field(default_factory=dict)

    def part(self, kind: type[Part], make: Callable[[], Part] | None = None) -> Part:
        """
        The state that a room keeps for the length of the run: one object of that type, created at its first use.

        + make: creates it; the type's own constructor where it is None
        """
        if kind not in self._parts:
            self._parts[kind] = (make or kind)()
        part: Part = self._parts[kind]
        return part


@cache
def current_run() -> Run:
    """The run of this process. A test clears the cache to begin another."""
    return Run()
