"""A problem as a value: a fact, then a hint with the next safe act; and the exception that carries problems."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


def visible(text: str, *, one_line: bool = False) -> str:
    """
    Text of any origin with its control characters escaped, since they could control a terminal.

    + one_line: escape line breaks too
    """
    kept = "\t" if one_line else "\t\n"
    escaped = {c for c in text if unicodedata.category(c) == "Cc" and c not in kept}
    return "".join(c.encode("unicode_escape").decode() if c in escaped else c for c in text)


@dataclass(frozen=True)
class Problem:
    """
    One thing that is wrong.

    + fact: one line that names tenant, thing and value
    + hint: the next safe act, and the runbook page where there is one; may be empty
    """

    fact: str
    hint: str = ""

    def __str__(self) -> str:
        fact = visible(self.fact)
        return f"{fact}\nHINT: {self.hint}" if self.hint else fact


class Refused(Exception):
    """Raised instead of acting. It carries every problem that was found, not only the first."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def because(cls, fact: str, hint: str = "") -> Refused:
        """A refusal with a single problem."""
        return cls([Problem(fact, hint)])
