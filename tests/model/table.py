"""The table of connection URLs that the Python and the shell are both held to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

OPTION = "-csearch_path%3Dmemory_plugin%2Cpublic"
REFUSES = "refuses"


@dataclass(frozen=True)
class Good:
    """A URL and what it becomes. + libpq: REFUSES where that dialect cannot + shell: whether the entrypoint does it"""

    case: str
    given: str
    libpq: str
    lib_pq: str
    shell: bool


@dataclass(frozen=True)
class Bad:
    """A URL that is refused, with these words."""

    case: str
    given: str
    says: tuple[str, ...]


_TABLE = yaml.safe_load(Path(__file__).with_name("urls.yaml").read_text())


def _good(row: dict[str, str]) -> Good:
    results = {
        dialect: row["given"] if row[dialect] == "=" else row[dialect].replace("{option}", OPTION)
        for dialect in ("libpq", "lib_pq")
    }
    return Good(row["case"], row["given"], **results, shell=row.get("shell") != REFUSES)


GOOD = [_good(row) for row in _TABLE["good"]]
BAD = [Bad(row["case"], row["given"], tuple(row["says"])) for row in _TABLE["bad"]]


def case(row: object) -> str | None:
    """For `ids=`."""
    return row.case if isinstance(row, Good | Bad) else None
