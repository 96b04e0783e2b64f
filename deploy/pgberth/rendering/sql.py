"""
SQL from templates, refusing what could become an injection.

Every `{{ }}` must end in a filter that makes SQL of a value: `ident`, `literal` or `integer`. A forgotten filter,
another one after it (`x|ident|upper`), a concatenation, an undefined variable: each is an error that names template
and line. Values are never templates, so one that holds `{{ }}` comes out as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, LiteralString

import jinja2
import jinja2.meta
import jinja2.nodes
from psycopg import sql as pg

from pgberth.model.problems import Refused
from pgberth.model.resources import TEMPLATES

IDENTIFIER_BYTES = 63  # NAMEDATALEN - 1; a longer name is cut with a mere notice, so that two can become one


class Sql(str):
    """Text that may stand in a statement as it is. Any operation on it gives a plain str, which is refused again."""

    __slots__ = ()


def ident(value: object) -> Sql:
    """A quoted identifier from 1 to 63 bytes of text. Raises ValueError."""
    text = _text("ident", value)
    if not 0 < len(text.encode()) <= IDENTIFIER_BYTES:
        raise ValueError(f"ident: {text!r} has {len(text.encode())} bytes, an identifier has 1 to {IDENTIFIER_BYTES}")
    return Sql(pg.Identifier(text).as_string(None))


def literal(value: object) -> Sql:
    """A quoted string constant. Raises ValueError."""
    return Sql(pg.Literal(_text("literal", value)).as_string(None).strip())


def integer(value: object, minimum: int | None = None, maximum: int | None = None) -> Sql:
    """Decimal digits of an int, within the bounds where they are given. Raises ValueError."""
    _refuse_undefined(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"integer: {value!r} is not a whole number")
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise ValueError(f"integer: {value} is not from {minimum} to {maximum}")
    return Sql(value)


def render(template: str | Path, values: Mapping[str, Any]) -> str:
    """
    The text of a template with the values filled in.

    + template: a path, taken from the bundle's `templates/` where it is relative
    + values: by variable name; str for `ident` and `literal`, int for `integer`

    Raises Refused, naming template and line, for whatever is wrong with either.
    """
    path = TEMPLATES / template
    try:
        return _environment(path.parent.parent).get_template(f"{path.parent.name}/{path.name}").render(values)
    except (jinja2.TemplateError, ValueError, TypeError, ArithmeticError, LookupError) as wrong:
        raise Refused.because(f"{_place(wrong, path)}: {_sentence(wrong)}", _HINT) from wrong


def variables(template: str | Path) -> frozenset[str]:
    """Names of the values that a template can ask for. Raises Refused where it does not parse."""
    path = TEMPLATES / template
    try:
        return _variables(path.parent.parent, path.read_text("utf-8"))
    except jinja2.TemplateError as wrong:
        raise Refused.because(f"{_place(wrong, path)}: {_sentence(wrong)}", _HINT) from wrong


_HINT = "Write {{ name | ident }}, {{ name | literal }} or {{ name | integer }}, and give every name a value."


def _only_sql(value: object) -> object:
    # An undefined value is let through: rendering it raises, and says which name is undefined.
    if isinstance(value, Sql | jinja2.Undefined):
        return value
    raise ValueError("a {{ }} is not typed as SQL: ident, literal or integer must come last in it")


def _refuse_undefined(value: object) -> None:
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, and says which name is undefined


def _text(filter_name: str, value: object) -> str:
    _refuse_undefined(value)
    if not isinstance(value, str):
        raise ValueError(f"{filter_name}: {value!r} is not text")
    if "\0" in value:
        raise ValueError(f"{filter_name}: {value!r} holds a NUL character, which PostgreSQL cannot store")
    return value


@lru_cache
def _environment(directory: Path) -> jinja2.Environment:
    """For the templates of the directories in it, which may extend a template beside them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        undefined=jinja2.StrictUndefined,
        finalize=_only_sql,
        autoescape=False,  # noqa: S701 - SQL is not HTML; `finalize` is our guard
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ident": ident, "literal": literal, "integer": integer}
    return environment


@lru_cache(maxsize=1024)
def _variables(directory: Path, source: str) -> frozenset[str]:
    """Those of the template itself, and those of the template it extends that it does not set."""
    if "{{" not in source and "{%" not in source:
        return frozenset()  # most down files; parsing them all would take as long as rendering them
    tree = _environment(directory).parse(source)
    asked = jinja2.meta.find_undeclared_variables(tree)
    assigned = {name.name for node in tree.find_all(jinja2.nodes.Assign) for name in node.find_all(jinja2.nodes.Name)}
    for extended in filter(None, jinja2.meta.find_referenced_templates(tree)):
        asked |= _variables(directory, (directory / extended).read_text("utf-8")) - assigned
    return frozenset(asked)


def _place(wrong: BaseException, path: Path) -> str:
    """ "<template>:<line>" of the innermost template at fault; Jinja rewrites its tracebacks to template lines."""
    line = wrong.lineno if isinstance(wrong, jinja2.TemplateSyntaxError) else None
    trace = wrong.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    shown = path.relative_to(TEMPLATES) if path.is_relative_to(TEMPLATES) else path
    return f"{shown}:{line}" if line else str(shown)


def _sentence(wrong: BaseException) -> str:
    if isinstance(wrong, jinja2.TemplateNotFound):
        return "no such template"
    return " ".join(str(wrong).split()) or type(wrong).__name__


@lru_cache
def read_sql(name: str) -> LiteralString:
    """A file of SQL below templates/, by its path there. It is a literal for psycopg, since no value is in it."""
    return (TEMPLATES / name).read_text("utf-8")
