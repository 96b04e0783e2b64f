"""
What a migration file may say: its directives, and the SQL that the runner can keep its promises about.

Directives stand in the header, that is, before the first line that is neither empty nor a `--` comment:

    -- pgberth: no-transaction         one statement at a time, outside a transaction; each must bear being run again
    -- pgberth: gate=name[,name]       applied only when these parameters have values
    -- pgberth: needs=0001[,0002]      a repeatable that is right as soon as these versions are there, not only at head

A file of nothing but CREATE INDEX goes one statement at a time without being told to, since the runner builds an index
CONCURRENTLY where its table has rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgberth.migrations.statements import Statement, index_statement, split
from pgberth.model.problems import Problem, Refused

_DIRECTIVE = re.compile(r"\s*--\s*pgberth:(?P<said>.*)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION = re.compile(r"\d{4}")

_TRANSACTION = {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE"}
_SESSION = {"SET", "RESET", "DISCARD", "LISTEN"}


@dataclass(frozen=True)
class Directives:
    """What the header of an up file says."""

    transactional: bool = True
    gate: tuple[str, ...] = ()
    needs: tuple[str, ...] | None = None


def directives(template: str, place: str) -> Directives:
    """Read the header of an up file; `place` names it in messages. Raises Refused."""
    lines = template.split("\n")
    header = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("--")), len(lines))
    read, problems = Directives(), []
    for number, line in enumerate(lines, start=1):
        said = _DIRECTIVE.fullmatch(line)
        if said is None:
            continue
        understood = _understood(read, said["said"].strip()) if number <= header else None
        if understood is None:
            problems.append(Problem(f"{place}:{number}: directive not understood: {line.strip()}", _DIRECTIVES))
        read = understood or read
    if problems:
        raise Refused(problems)
    return read


_DIRECTIVES = "The header may say no-transaction, gate=name[,name] and needs=NNNN[,NNNN], each on a line of its own."


def _understood(read: Directives, said: str) -> Directives | None:
    key, _, value = said.partition("=")
    names = tuple(name.strip() for name in value.split(","))
    if said == "no-transaction":
        return Directives(False, read.gate, read.needs)
    if key == "gate" and all(map(_NAME.fullmatch, names)):
        return Directives(read.transactional, names, read.needs)
    if key == "needs" and all(map(_VERSION.fullmatch, names)):
        return Directives(read.transactional, read.gate, names)
    return None


def check(twins: Mapping[str, str], places: Mapping[str, str], said: Directives) -> None:
    """
    Refuse SQL that would break a promise of the runner.

    + twins: rendered up, down and verify
    + places: their names in messages

    Raises Refused for transaction control, session settings that would outlive the file, CONCURRENTLY inside a
    transaction, an empty up file, and a verify file that is not one single query.
    """
    problems = [*_verify(twins["verify"], places["verify"])]
    repeatable = "down" not in twins
    if repeatable and not said.transactional:
        problems.append(Problem(f"{places['up']}: a repeatable without a transaction", "All of them are one together."))
    if not split(twins["up"]):
        problems.append(Problem(f"{places['up']} holds no statement"))
    for twin in ("up", "down"):
        inside = twin == "down" or repeatable or (said.transactional and not only_indexes(twins[twin]))
        for statement in split(twins.get(twin, "")):
            problems += _statement(statement, f"{places[twin]}:{statement.line}", inside=inside)
    if problems:
        raise Refused(problems)


def only_indexes(up: str) -> bool:
    """Whether a file does nothing but build indexes."""
    statements = split(up)
    return bool(statements) and all(index_statement(statement) for statement in statements)


def _statement(statement: Statement, place: str, *, inside: bool) -> Iterator[Problem]:
    words = statement.words
    if words[0] in _TRANSACTION:
        yield Problem(f"{place}: {words[0]} in a migration", "The runner begins and ends it, together with the ledger.")
    if words[0] in _SESSION and words[1:2] not in (("LOCAL",), ("CONSTRAINTS",)):
        yield Problem(f"{place}: {' '.join(words[:2])} outlives the file", "Write SET LOCAL, or qualify the names.")
    if inside and "CONCURRENTLY" in words:
        yield Problem(f"{place}: CONCURRENTLY inside a transaction", "Put it in an up file of its own.")


def _verify(text: str, place: str) -> Iterator[Problem]:
    statements = split(text)
    if len(statements) != 1 or statements[0].words[0] not in ("SELECT", "WITH"):
        yield Problem(f"{place} is not one single SELECT", "It returns kind, object, problem: a row for each problem.")
