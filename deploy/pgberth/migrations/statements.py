"""Split SQL into statements as the server does, and parse CREATE INDEX."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, LiteralString, cast

if TYPE_CHECKING:
    from psycopg import sql

_TOKEN = re.compile(
    r"""
      (?P<comment>--[^\n]*)
    | (?P<block>/\*)
    | (?P<quoted>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*")
    | (?P<dollar>\$(?:[A-Za-z_][A-Za-z_0-9]*)?\$)
    | (?P<word>[A-Za-z_][\w$]*)
    | (?P<end>;)
    | (?P<other>[^A-Za-z_;'"$/-]+ | .)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_INDEX = re.compile(
    rf"""
    CREATE \s+ (?P<unique>UNIQUE\s+)? INDEX \s+ (?P<concurrently>CONCURRENTLY\s+)?
    (?P<name>{_NAME}) \s+ ON \s+ (?P<schema>{_NAME}) \s*\.\s* (?P<table>{_NAME}) (?P<rest>.*)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class Statement:
    """
    One statement.

    + text: as written, without the semicolon
    + code: the same without comments
    + line: where it starts in the file, counted from 1
    """

    text: str
    code: str
    line: int

    @property
    def words(self) -> tuple[str, ...]:
        """The first three words in upper case: they show the kind of statement."""
        return tuple(self.code.upper().split(maxsplit=3)[:3])


@dataclass(frozen=True)
class IndexStatement:
    """A parsed CREATE INDEX. Names are without quotes, folded as the server folds them."""

    schema: str
    table: str
    name: str
    unique: bool
    concurrently: bool
    rest: LiteralString

    def create(self, *, concurrently: bool) -> sql.Composed:
        """The statement that builds it, with or without CONCURRENTLY, whatever the file has."""
        from psycopg import sql  # here: reading a file needs no driver

        return sql.SQL("CREATE {unique}INDEX {concurrently}{name} ON {table}{rest}").format(
            unique=sql.SQL("UNIQUE " if self.unique else ""),
            concurrently=sql.SQL("CONCURRENTLY " if concurrently else ""),
            name=sql.Identifier(self.name),
            table=sql.Identifier(self.schema, self.table),
            rest=sql.SQL(self.rest),  # text of a migration file, not a value
        )


@lru_cache(maxsize=1024)
def split(body: str) -> tuple[Statement, ...]:
    """The statements of a file. A semicolon in a string, comment, dollar quote or BEGIN ATOMIC body ends none."""
    statements: list[Statement] = []
    start, code = 0, ""
    depth = 0
    for kind, text, end in _tokens(body):
        code += " " if kind == "comment" else text
        if kind == "word":
            depth = _atomic_depth(depth, text.upper(), code)
        if kind == "end" and not depth:
            statements += _statement(body, start, end - 1, code[:-1])
            start, code = end, ""
    return tuple(statements + _statement(body, start, len(body), code))


def index_statement(statement: Statement) -> IndexStatement | None:
    """
    The parsed statement, or None if it is not a CREATE INDEX.

    IF NOT EXISTS, ONLY and a table without a schema are not used in migrations; they give None too.
    """
    found = _INDEX.fullmatch(statement.code)
    if found is None:
        return None
    return IndexStatement(
        schema=_plain(found["schema"]),
        table=_plain(found["table"]),
        name=_plain(found["name"]),
        unique=bool(found["unique"]),
        concurrently=bool(found["concurrently"]),
        rest=cast(LiteralString, found["rest"]),
    )


def _tokens(body: str) -> Iterator[tuple[str, str, int]]:
    """(kind, text, end) of each token; a whole block comment or dollar-quoted string is one token."""
    at = 0
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None:  # cannot happen: the last alternative matches any character
            raise AssertionError(at)
        kind, end = str(found.lastgroup), found.end()
        if kind == "dollar":
            close = body.find(found.group(), end)
            kind, end = "quoted", len(body) if close < 0 else close + len(found.group())
        if kind == "block":
            kind, end = "comment", _block_end(body, end)
        yield kind, body[at:end], end
        at = end


def _block_end(body: str, at: int) -> int:
    depth = 1  # block comments nest in SQL
    for edge in _BLOCK_EDGE.finditer(body, at):
        depth += 1 if edge.group() == "/*" else -1
        if not depth:
            return edge.end()
    return len(body)


def _atomic_depth(depth: int, word: str, code: str) -> int:
    """How many blocks of a BEGIN ATOMIC body are open; CASE closes with END just as the body does."""
    if depth:
        return depth + (word in ("CASE", "BEGIN")) - (word == "END")
    return int(word == "ATOMIC" and code.upper().split()[-2:] == ["BEGIN", "ATOMIC"])


def _statement(body: str, start: int, end: int, code: str) -> list[Statement]:
    if not code.strip():
        return []
    text = body[start:end]
    first = start + len(text) - len(text.lstrip())
    return [Statement(text.strip(), code.strip(), body.count("\n", 0, first) + 1)]


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
