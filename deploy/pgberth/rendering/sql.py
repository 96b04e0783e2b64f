"""
SQL from templates, rendered so that no value can become an injection (see `environment`).

Every `{{ }}` ends in `ident`, `literal` or `integer`. Each error names the template and the line.

The quoting is psycopg's, which a test compares; psycopg itself takes too long to import for a run that changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, LiteralString

import jinja2
import jinja2.meta
import jinja2.nodes

from pgberth.model.problems import Refused
from pgberth.model.resources import TEMPLATES
from pgberth.rendering.environment import Language, Typed, defined, environment

IDENTIFIER_BYTES = 63  # NAMEDATALEN - 1; the server cuts a longer name with only a notice, so that two can become one


class Sql(Typed):
    """Text that may stand in a statement as it is."""

    __slots__ = ()


def ident(value: object) -> Sql:
    """A quoted identifier from 1 to 63 bytes of text. Raises ValueError."""
    text = _text("ident", value)
    if not 0 < len(text.encode()) <= IDENTIFIER_BYTES:
        raise ValueError(f"ident: {text!r} has {len(text.encode())} bytes, an identifier has 1 to {IDENTIFIER_BYTES}")
    return Sql('"' + text.replace('"', '""') + '"')


def literal(value: object) -> Sql:
    """A quoted string constant. Raises ValueError."""
    text = _text("literal", value).replace("'", "''")
    return Sql(f"'{text}'" if "\\" not in text else "E'" + text.replace("\\", "\\\\") + "'")


def integer(value: object, minimum: int | None = None, maximum: int | None = None) -> Sql:
    """Decimal digits of an int, within the bounds where they are given. Raises ValueError."""
    defined(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"integer: {value!r} is not a whole number")
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise ValueError(f"integer: {value} is not from {minimum} to {maximum}")
    return Sql(value)


# The ledger keeps a digest of each migration's text, which was always rendered without the last newline.
SQL = Language("SQL", Sql, {"ident": ident, "literal": literal, "integer": integer}, keep_trailing_newline=False)


def render(template: str | Path, values: Mapping[str, Any]) -> str:
    """
    The text of a template with the values filled in.

    + template: a path; a relative one is below the bundle's `templates/`. It may extend a template beside its directory
    + values: by variable name; str for `ident` and `literal`, int for `integer`

    Raises Refused, with the template and the line, where the template or a value is wrong.
    """
    path = TEMPLATES / template
    try:
        return environment(path.parent.parent, SQL).get_template(f"{path.parent.name}/{path.name}").render(values)
    except (jinja2.TemplateError, ValueError, TypeError, ArithmeticError, LookupError) as wrong:
        raise Refused.because(f"{_place(wrong, path)}: {_message(wrong)}", _HINT) from wrong


def variables(template: str | Path) -> frozenset[str]:
    """The names of the values that a template may use. Raises Refused where it does not parse."""
    path = TEMPLATES / template
    try:
        return _variables(path.parent.parent, path.read_text("utf-8"))
    except jinja2.TemplateError as wrong:
        raise Refused.because(f"{_place(wrong, path)}: {_message(wrong)}", _HINT) from wrong


_HINT = "write {{ name | ident }}, {{ name | literal }} or {{ name | integer }}, and give every name a value"


def _text(filter_name: str, value: object) -> str:
    defined(value)
    if not isinstance(value, str):
        raise ValueError(f"{filter_name}: {value!r} is not text")
    if "\0" in value:
        raise ValueError(f"{filter_name}: {value!r} holds a NUL character, which PostgreSQL cannot store")
    return value


@lru_cache(maxsize=1024)
def _variables(directory: Path, source: str) -> frozenset[str]:
    """The names that the template uses, and those that the template it extends uses and it does not set itself."""
    if "{{" not in source and "{%" not in source:
        return frozenset()  # most down files; parsing all of them would take as long as rendering them
    tree = environment(directory, SQL).parse(source)
    names = jinja2.meta.find_undeclared_variables(tree)
    assigned = {name.name for node in tree.find_all(jinja2.nodes.Assign) for name in node.find_all(jinja2.nodes.Name)}
    for extended in filter(None, jinja2.meta.find_referenced_templates(tree)):
        names |= _variables(directory, (directory / extended).read_text("utf-8")) - assigned
    return frozenset(names)


def _place(wrong: BaseException, path: Path) -> str:
    """`<template>:<line>` of the innermost line at fault: Jinja rewrites its tracebacks to the lines of templates."""
    line = wrong.lineno if isinstance(wrong, jinja2.TemplateSyntaxError) else None
    trace = wrong.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    shown = path.relative_to(TEMPLATES) if path.is_relative_to(TEMPLATES) else path
    return f"{shown}:{line}" if line else str(shown)


def _message(wrong: BaseException) -> str:
    if isinstance(wrong, jinja2.TemplateNotFound):
        return "no such template"
    return " ".join(str(wrong).split()) or type(wrong).__name__


@lru_cache
def read_sql(name: str) -> LiteralString:
    """A file of SQL, by its path below templates/. psycopg may take it as a literal: it contains no value."""
    return (TEMPLATES / name).read_text("utf-8")
