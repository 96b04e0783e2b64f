"""The entrypoint of a tenant's workload: a POSIX sh script, rendered so that no value can become code."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

from pgberth.model import url
from pgberth.model.resources import TEMPLATES

GATE = 30  # seconds a memory plugin has to become healthy
PORT = 9100  # where it listens, unless told otherwise


class Shell(str):
    """Text that may stand in a script as it is. Any operation on it gives a plain str, which is refused again."""

    __slots__ = ()


def word(value: object) -> Shell:
    """One quoted word of text. Raises TypeError."""
    return words([value])


def words(values: Sequence[object]) -> Shell:
    """Quoted words, a blank between them. Raises TypeError."""
    if wrong := [value for value in values if not isinstance(value, str) or "\0" in value]:
        raise TypeError(f"{wrong[0]!r} is no text that a shell can hold")
    return Shell(shlex.join(str(value) for value in values))


def integer(value: object) -> Shell:
    """Decimal digits of an int from 0. Raises TypeError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is no whole number from 0")
    return Shell(value)


def entrypoint(components: Sequence[str], plugin: Sequence[str] = (), *, port: int = PORT, gate: int = GATE) -> str:
    """
    The script for a workload that uses these components.

    + plugin: the words of the command that runs a memory plugin beside the workload; none where there is to be none
    + port: of loopback, where that plugin listens
    + gate: seconds it has to become healthy
    """
    if plugin and "memory_plugin" not in components:
        raise ValueError("a memory plugin needs the component memory_plugin")
    urls = [{"variable": url.variable(name), "pair": f"options={url.options(name)}"} for name in components]
    template = _environment().get_template("tenant-entrypoint.sh.j2")
    return template.render(urls=urls, plugin=list(plugin), port=port, gate=gate)


def _environment() -> Environment:
    environment = Environment(  # noqa: S701  (a shell script is no markup; `finalize` is our guard)
        loader=FileSystemLoader(TEMPLATES / "entrypoint"),
        undefined=StrictUndefined,
        finalize=_only_shell,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"word": word, "words": words, "integer": integer}
    return environment


def _only_shell(value: object) -> object:
    # An undefined value is let through: rendering it raises, and says which name is undefined.
    if isinstance(value, Shell | Undefined):
        return value
    raise TypeError("a {{ }} is not typed as shell: word, words or integer must come last in it")
