"""The record of what a verb did to a tenant, and of the checks that prove it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pgberth.run import current_run


@dataclass(frozen=True)
class Result:
    """The result of a check. + problems: empty where it passed; seconds: how long it took"""

    id: str
    problems: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass
class Receipt:
    """
    One tenant's part of a run.

    + state: the tenant's state in a few words, from a verb that only observes
    + pending: what only a recycle would change
    + did: what the verb counted of its own work, as JSON, e.g. {"logins": 41, "refused": 0}
    + spec, rollout_hash: fingerprints of what ran when the checks ran; see container.spec
    + no_baseline: why drift could not be measured; "" where it could
    """

    verb: str
    tenant: str
    rings: tuple[str, ...]
    port: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished: datetime | None = None
    image: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    changed: bool = False
    pending: str = ""
    results: tuple[Result, ...] | None = None
    notes: list[str] = field(default_factory=list)
    state: str = ""
    did: dict[str, Any] = field(default_factory=dict)
    no_baseline: str = ""
    spec: str = ""
    rollout_hash: str = ""

    @property
    def failed_checks(self) -> list[Result]:
        return [result for result in self.results or () if not result.passed]

    @property
    def seconds(self) -> float:
        return ((self.finished or datetime.now(UTC)) - self.started).total_seconds()

    def to_json(self) -> str:
        body = {
            "verb": self.verb,
            "tenant": self.tenant,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 2),
            "image": self.image,
            "spec": self.spec,
            "rollout": self.rollout_hash,
            "versions": self.versions,
            "changed": self.changed,
            "pending": self.pending,
            **({"did": self.did} if self.did else {}),
            "checks": {r.id: "passed" if r.passed else list(r.problems) for r in self.results or ()},
        }
        return json.dumps(body, indent=2) + "\n"


@dataclass
class Report:
    """
    What the run will print when it ends.

    + receipts: tenant -> its receipt
    + notes: lines about machines and about the run as a whole
    """

    receipts: dict[str, Receipt] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def current_report() -> Report:
    """The report of this run."""
    return current_run().part(Report)
