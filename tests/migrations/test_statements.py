"""Statements end where the server ends them."""

from __future__ import annotations

import pytest

from pgberth.migrations.statements import index_statement, split
from tests.postgres import Database

ONE_EACH = [
    "SELECT 1",
    "SELECT ';', ';;'",
    "SELECT 'it''s; fine'",
    r"SELECT E'it\'s; fine\\', 2",
    'SELECT U&\'d;\' AS "a;""b"',
    "SELECT $$;$$, $a$ ; $$ ; $a$",
    "SELECT 1 -- a; comment\n, 2",
    "SELECT /* ; /* ; */ ; */ 1",
    "DO $$ BEGIN PERFORM 1; PERFORM 2; END $$",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
    "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2;'",
    'CREATE TABLE "begin;atomic" (a$b int)',
    "SELECT 1 AS atomic",
]


@pytest.mark.parametrize("text", ONE_EACH)
def test_what_the_server_takes_as_one_statement_is_one(database: Database, text: str) -> None:
    # A prepared statement may hold one command only, so the server itself says that the example is right.
    database.connect("memory_owner").execute("CREATE SCHEMA x; SET search_path = x").connection.execute(
        text.encode(), prepare=True
    )
    statements = split(f"\n{text};\n-- end\n{text};")
    assert [statement.text.removeprefix("-- end\n") for statement in statements] == [text, text]
    assert statements[0].line == 2


def test_statements_are_separated_and_know_their_lines() -> None:
    statements = split("-- head;\n\nSELECT 1;\n/* ; */ SELECT 2\n  FROM x;;\n-- tail\n")
    assert [(s.code, s.line) for s in statements] == [("SELECT 1", 1), ("SELECT 2\n  FROM x", 4)]


@pytest.mark.parametrize("text", ["", " \n", "-- only a comment", "/* ; */ ;", ";;"])
def test_nothing_is_no_statement(text: str) -> None:
    assert split(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CREATE INDEX a ON s.t (x)", ("s", "t", "a", False, False, " (x)")),
        ("create unique index A on S.T using btree (x)", ("s", "t", "a", True, False, " using btree (x)")),
        ('CREATE INDEX CONCURRENTLY "A b" ON s."T""t"(x)', ("s", 'T"t', "A b", False, True, "(x)")),
        ("CREATE INDEX a -- why\n ON s . t (x)", ("s", "t", "a", False, False, " (x)")),
    ],
)
def test_an_index_statement_is_taken_apart(text: str, expected: tuple[object, ...]) -> None:
    index = index_statement(split(text)[0])
    assert index is not None
    assert (index.schema, index.table, index.name, index.unique, index.concurrently, index.rest) == expected


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX ON s.t (x)",
        "CREATE INDEX a ON t (x)",
        "CREATE INDEX IF NOT EXISTS a ON s.t (x)",
        "CREATE INDEX a ON ONLY s.t (x)",
        "CREATE TABLE s.t (x int)",
        "DO $$ BEGIN CREATE INDEX a ON s.t (x); END $$",
    ],
)
def test_anything_else_is_no_index_statement(text: str) -> None:
    assert index_statement(split(text)[0]) is None


def test_an_index_statement_can_be_built_with_and_without_concurrently() -> None:
    index = index_statement(split("CREATE UNIQUE INDEX CONCURRENTLY a ON s.t (x) WHERE y <> '{}'")[0])
    assert index is not None
    assert index.create(concurrently=False).as_string() == """CREATE UNIQUE INDEX "a" ON "s"."t" (x) WHERE y <> '{}'"""
    assert index.create(concurrently=True).as_string().startswith('CREATE UNIQUE INDEX CONCURRENTLY "a"')
