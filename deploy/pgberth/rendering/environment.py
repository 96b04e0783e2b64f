"""
The one Jinja environment of all templates: a value becomes text of a language, or rendering fails.

Every `{{ }}` must end in a filter that types its value for the template's language. A forgotten filter, another one
after it (`x|ident|upper`), a concatenation, an undefined variable: each is an error. Values are never templates, so one
that contains `{{ }}` comes out as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2


class Typed(str):
    """Text that may stand in a file of a language as it is. Any operation on it gives a plain str, which is refused."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class Language:
    """
    What a template's values become.

    + name: as in error messages
    + typed: the type of text that may stand in such a file
    + filters: name -> filter that makes such text of a value, or raises ValueError or TypeError
    + keep_trailing_newline: whether the file ends in the newline that its template ends in
    """

    name: str
    typed: type[Typed]
    filters: Mapping[str, Callable[..., Typed]]
    keep_trailing_newline: bool = True


@lru_cache
def environment(directory: Path, language: Language) -> jinja2.Environment:
    """The environment for the templates of a language below this directory."""
    made = jinja2.Environment(  # noqa: S701  (no template is HTML; `finalize` is the guard)
        loader=jinja2.FileSystemLoader(directory),
        undefined=jinja2.StrictUndefined,
        finalize=_guard(language),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=language.keep_trailing_newline,
    )
    made.filters |= language.filters
    return made


def _guard(language: Language) -> Callable[[object], object]:
    *others, last = language.filters
    filters = f"{', '.join(others)} or {last}"

    def only_typed(value: object) -> object:
        # An undefined value passes: rendering it raises an error that names it.
        if isinstance(value, language.typed | jinja2.Undefined):
            return value
        raise ValueError(f"a {{{{ }}}} is not typed as {language.name}: {filters} must come last in it")

    return only_typed


def defined(value: object) -> object:
    """The value. Raises UndefinedError, which names it, where the template uses an undefined one."""
    if isinstance(value, jinja2.Undefined):
        str(value)
    return value
