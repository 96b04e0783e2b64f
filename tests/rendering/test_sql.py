"""Templates make SQL of typed values only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.sql import Identifier, Literal

from pgberth.model.problems import Refused
from pgberth.rendering import sql
from tests.postgres import Database

HOSTILE = [
    "plain",
    'x" SUPERUSER; --',
    "it's; DROP SCHEMA public CASCADE; --",
    "{{ 7 * 7 }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}",
    "back\\slash' OR true --",
    "$$ $body$",
    "%s %(x)s :x ?",
    "new\nline\r\ttab",
    "snow☃man",
]


def rendered(tmp_path: Path, text: str, **values: Any) -> str:
    (tmp_path / "some.sql.j2").write_text(text)
    return sql.render(tmp_path / "some.sql.j2", values)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_reaches_the_server_as_itself(tmp_path: Path, database: Database, value: str) -> None:
    text = rendered(tmp_path, "SELECT {{ value | literal }} AS {{ value | ident }}", value=value)
    cursor = database.connect().execute(text.encode())
    assert cursor.fetchone() == (value,)
    assert cursor.description is not None
    assert cursor.description[0].name == value


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15))
@example('back\\slash\'s "name"')
def test_the_quoting_is_psycopg_s(value: str) -> None:
    assert sql.literal(value) == Literal(value).as_string(None).strip()
    assert sql.ident(value) == Identifier(value).as_string(None)


def test_every_ascii_character_survives_as_literal_and_as_identifier(tmp_path: Path, database: Database) -> None:
    value = "".join(map(chr, range(1, 128)))
    text = rendered(tmp_path, "SELECT {{ value | literal }}, 1 AS {{ name | ident }}", value=value, name=value[:60])
    cursor = database.connect().execute(text.encode())
    assert cursor.fetchone() == (value, 1)


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [(0, "", "0"), (-5, "", "-5"), (1, "(1, 2000)", "1"), (2000, "(1, 2000)", "2000"), (10**30, "", str(10**30))],
)
def test_whole_numbers_are_written_as_digits(tmp_path: Path, value: int, bounds: str, expected: str) -> None:
    assert rendered(tmp_path, "{{ value | integer%s }}" % bounds, value=value) == expected  # noqa: UP031


BAD = [
    ("{{ x }}", "text", "is not typed as SQL"),
    ("{{ x }}", 5, "is not typed as SQL"),
    ("{{ 'constant' }}", None, "is not typed as SQL"),
    ("{{ x | upper }}", "text", "is not typed as SQL"),
    ("{{ x | ident | upper }}", "text", "is not typed as SQL"),
    ("{{ (x | ident) ~ '.y' }}", "text", "is not typed as SQL"),
    ("{% for y in x %}{{ y }}{% endfor %}", ["a"], "is not typed as SQL"),
    ("{% for y in x %}{{ loop.index }}{% endfor %}", ["a"], "is not typed as SQL"),
    ("{{ x | ident }}", "", "1 to 63"),
    ("{{ x | ident }}", "a" * 64, "1 to 63"),
    ("{{ x | ident }}", "☃" * 22, "66 bytes"),
    ("{{ x | ident }}", "a\0b", "NUL"),
    ("{{ x | ident }}", 5, "not text"),
    ("{{ x | literal }}", "a\0b", "NUL"),
    ("{{ x | literal }}", None, "not text"),
    ("{{ x | literal }}", ["a"], "not text"),
    ("{{ x | integer }}", "5", "not a whole number"),
    ("{{ x | integer }}", True, "not a whole number"),
    ("{{ x | integer }}", 5.0, "not a whole number"),
    ("{{ x | integer(1, 2000) }}", 0, "not from 1 to 2000"),
    ("{{ x | integer(1, 2000) }}", 2001, "not from 1 to 2000"),
    ("{{ y }}", None, "'y' is undefined"),
    ("{{ y | ident }}", None, "'y' is undefined"),
    ("{{ y | integer }}", None, "'y' is undefined"),
    ("{% if y %}{% endif %}", None, "'y' is undefined"),
    ("{{ x | nosuch }}", "text", "nosuch"),
    ("{{ x", "text", "end of print statement"),
    ("{% endif %}", "text", "endif"),
]


@pytest.mark.parametrize(("text", "value", "says"), BAD)
def test_anything_else_is_refused_with_template_and_line(tmp_path: Path, text: str, value: object, says: str) -> None:
    with pytest.raises(Refused) as refused:
        rendered(tmp_path, f"-- one\n-- two\nSELECT {text};\n", x=value)
    fact = refused.value.problems[0].fact
    assert "some.sql.j2:3: " in fact
    assert says in fact


def test_a_template_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"nosuch\.sql\.j2: no such template"):
        sql.render(tmp_path / "nosuch.sql.j2", {})


def test_the_names_that_a_template_asks_for_are_known_without_rendering(tmp_path: Path) -> None:
    (tmp_path / "some.sql.j2").write_text("{{ a | ident }}{% set c = b %}{% if c %}{{ d | literal }}{% endif %}")
    assert sql.variables(tmp_path / "some.sql.j2") == {"a", "b", "d"}


def test_a_template_that_extends_one_beside_its_directory_asks_for_what_that_one_asks_for(tmp_path: Path) -> None:
    (tmp_path / "base.sql.j2").write_text("SELECT {{ own | literal }}, {{ a | literal }}, {% block b %}{% endblock %}")
    (tmp_path / "child").mkdir()
    child = tmp_path / "child/some.sql.j2"
    child.write_text('{% extends "base.sql.j2" %}{% set own = "x" %}{% block b %}{{ c | integer }}{% endblock %}')
    assert sql.variables(child) == {"a", "c"}
    assert sql.render(child, {"a": "y", "c": 1}) == "SELECT 'x', 'y', 1"
