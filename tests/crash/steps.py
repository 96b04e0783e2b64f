"""Steps of a deploy as the hook notes them, and the ways in which it may end there."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash import VARIABLE
from tests.deploy.product import BUILDING, Inventory, Run, run

_COMMANDS = ("asks", "does", "holds", "uploads")
_SHORT = 0.05  # seconds; an operation that sends nothing and takes less has only looked at what is known


@dataclass(frozen=True)
class Fault:
    """
    A way to end.

    + kill: who dies of it on the operator's machine, as the hook knows it
    """

    name: str
    kill: str = ""

    def __str__(self) -> str:
        return self.name


DEPLOY = Fault("the deploy killed, its command runs on", "deploy")
COMMAND = Fault("the deploy and its command killed", "all")
CUT = Fault("network cut")
OFF = Fault("host powered off", "deploy")  # whoever waits for a dead host is killed in the end, or gives it up


@dataclass(frozen=True)
class Step:
    """
    + host: as pyinfra names it; number: which of this host's steps it is; key: which it is in any run, see the hook
    + kind: asks, does, holds and uploads are commands; calls and works are Python's own; passes is a named point
    """

    host: str
    number: int
    kind: str
    what: str
    op: str
    key: list[str]
    seconds: float

    def __str__(self) -> str:
        return f"{self.op}: {self.kind} {self.what.replace(self.host, 'TENANT')}".rstrip()

    def meets(self, fault: Fault) -> bool:
        """Whether this fault is another one here than its neighbours."""
        if self.kind == "works" and self.seconds < _SHORT:
            return False
        return fault == DEPLOY or self.kind in _COMMANDS or (fault in (CUT, OFF) and self.kind == "calls")


@dataclass(frozen=True)
class Case:
    """A fault at a step, after such a share of its time."""

    step: Step
    fault: Fault
    share: float

    def __str__(self) -> str:
        return f"{self.step}, {self.fault} after {self.share:.0%}"


@dataclass
class Outcome:
    """+ wrong: what was not healed, empty where all was"""

    ground: str
    case: Case
    wrong: list[str]


def recorded(inventory: Inventory, notes: Path) -> list[Step]:
    """The steps of a deploy that nothing befalls."""
    hooked(inventory, {"notes": str(notes)}).went_well()
    return [Step(**json.loads(line)) for line in notes.read_text().splitlines()]


def hooked(inventory: Inventory, plan: dict[str, Any]) -> Run:
    """A provision under the eyes of tests.crash.hook."""
    command = [word.replace("pyinfra", "tests.crash.hook") for word in inventory.command("provision", "--json")[:3]]
    command += inventory.command("provision", "--json")[3:]
    return run(command, tree=inventory.tree, seconds=BUILDING, environment={VARIABLE: json.dumps(plan)})


def struck(inventory: Inventory, case: Case, host: str, act: Sequence[str] = (), kill: str = "") -> Run:
    """
    A deploy that the fault comes over.

    + host: whose step it is in this run
    + act, kill: as tests.crash.hook has them; the fault's own victims where none are given
    """
    moment = {"host": host, "key": case.step.key, "after": case.step.seconds * case.share}
    return hooked(inventory, {"strike": {**moment, "act": list(act), "kill": kill or case.fault.kill}})


def cases(steps: Iterable[Step], faults: Iterable[Fault], seed: int) -> list[Case]:
    """Every fault at every step that it can meet, each after a drawn share of the step's time."""
    chance = random.Random(seed)  # noqa: S311
    faults = list(faults)
    return [Case(step, fault, round(chance.random(), 2)) for step in steps for fault in faults if step.meets(fault)]
