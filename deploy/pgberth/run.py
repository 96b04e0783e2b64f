"""What one run of a verb holds. It is one object, so that no module keeps anything of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

Part = TypeVar("Part")


@dataclass
class Run:
    """
    One run, from its first look at the inventory to its closing table.

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
        What a room keeps for the length of the run: one object of that type.

        + make: makes it at its first use; the type itself where there is no other way
        """
        if kind not in self._parts:
            self._parts[kind] = (make or kind)()
        found: Part = self._parts[kind]
        return found


@cache
def current_run() -> Run:
    """The run of this process; a test clears the cache to begin another."""
    return Run()
