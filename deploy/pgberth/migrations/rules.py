"""
What a migration file may contain: its directives, and the SQL for which the runner can keep its promises.

Directives stand in the header, before the first line that is neither empty nor a `--` comment:

    -- pgberth: no-transaction         one statement at a time, outside a transaction; each must be safe to run again
    -- pgberth: gate=name[,name]       applied only when these parameters have values
    -- pgberth: needs=0001[,0002]      a repeatable that is complete with these versions, not only at head

A file that only contains CREATE INDEX runs one statement at a time without a directive, because the runner builds an
index CONCURRENTLY if its table has rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgberth.migrations.statements import Statement, index_statement, split
from pgberth.model.problems import Problem, Refused

_DIRECTIVE = re.compile(r"\s*--\s*pgberth:(?P<text>.*)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION = re.compile(r"\d{4}")

_TRANSACTION = {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE"}
_SESSION = {"SET", "RESET", "DISCARD", "LISTEN"}


@dataclass(frozen=True)
class Directives:
    """The directives in the header of an up file."""

    transactional: bool = True
    gate: tuple[str, ...] = ()
    needs: tuple[str, ...] | None = None


def directives(template: str, place: str) -> Directives:
    """Read the header of an up file; `place` names it in messages. Raises Refused."""
    lines = template.split("\n")
    header = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("--")), len(lines))
    read, problems = Directives(), []
    for number, line in enumerate(lines, start=1):
        found = _DIRECTIVE.fullmatch(line)
        if found is None:
            continue
        parsed = _parse(read, found["text"].strip()) if number <= header else None
        if parsed is None:
            problems.append(Problem(f"{place}:{number}: directive not understood: {line.strip()}", _DIRECTIVES))
        read = parsed or read
    if problems:
        raise Refused(problems)
    return read


_DIRECTIVES = "The header may say no-transaction, gate=name[,name] and needs=NNNN[,NNNN], each on a line of its own."


def _parse(read: Directives, text: str) -> Directives | None:
    key, _, value = text.partition("=")
    names = tuple(name.strip() for name in value.split(","))
    if text == "no-transaction":
        return Directives(False, read.gate, read.needs)
    if key == "gate" and all(map(_NAME.fullmatch, names)):
        return Directives(read.transactional, names, read.needs)
    if key == "needs" and all(map(_VERSION.fullmatch, names)):
        return Directives(read.transactional, read.gate, names)
    return None


def check(scripts: Mapping[str, str], places: Mapping[str, str], header: Directives) -> None:
    """
    Refuse SQL that breaks a promise of the runner.

    + scripts: rendered up, down and verify
    + places: their names for messages

    Raises Refused for transaction control, session settings that outlive the file, CONCURRENTLY inside a transaction,
    an empty up file, and a verify file that is not one query.
    """
    problems = [*_verify(scripts["verify"], places["verify"])]
    repeatable = "down" not in scripts
    if repeatable and not header.transactional:
        problems.append(
            Problem(f"{places['up']}: a repeatable without a transaction", "All of them are one transaction.")
        )
    if not split(scripts["up"]):
        problems.append(Problem(f"{places['up']} holds no statement", "Write one, or remove the file."))
    for script in ("up", "down"):
        inside = script == "down" or repeatable or (header.transactional and not only_indexes(scripts[script]))
        for statement in split(scripts.get(script, "")):
            problems += _statement(statement, f"{places[script]}:{statement.line}", inside=inside)
    if problems:
        raise Refused(problems)


def only_indexes(up: str) -> bool:
    """Whether a file only builds indexes."""
    statements = split(up)
    return bool(statements) and all(index_statement(statement) for statement in statements)


def _statement(statement: Statement, place: str, *, inside: bool) -> Iterator[Problem]:
    words = statement.words
    if words[0] in _TRANSACTION:
        yield Problem(
            f"{place}: {words[0]} in a migration",
            "The runner does that, together with the ledger row.",
        )
    if words[0] in _SESSION and words[1:2] not in (("LOCAL",), ("CONSTRAINTS",)):
        yield Problem(f"{place}: {' '.join(words[:2])} outlives the file", "Write SET LOCAL, or qualify the names.")
    if inside and "CONCURRENTLY" in words:
        yield Problem(f"{place}: CONCURRENTLY inside a transaction", "Put it in an up file of its own.")


def _verify(text: str, place: str) -> Iterator[Problem]:
    statements = split(text)
    if len(statements) != 1 or statements[0].words[0] not in ("SELECT", "WITH"):
        yield Problem(f"{place} is not one SELECT", "It must return kind, object, problem: a row for each problem.")
