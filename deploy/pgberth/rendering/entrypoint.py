"""The entrypoint of a tenant's workload: a POSIX sh script, rendered so that no value can become code."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pgberth.model import url
from pgberth.model.resources import TEMPLATES
from pgberth.model.tenant import MEMORY_PLUGIN
from pgberth.rendering.environment import Language, Typed, environment

GATE = 30  # seconds that a memory plugin has to become healthy
PORT = 9100  # where it listens by default


class Shell(Typed):
    """Text that may stand in a script as it is."""

    __slots__ = ()


def word(value: object) -> Shell:
    """One quoted word of text. Raises TypeError."""
    return words([value])


def words(values: Sequence[object]) -> Shell:
    """Quoted words with blanks between them. Raises TypeError."""
    if wrong := [value for value in values if not isinstance(value, str) or "\0" in value]:
        raise TypeError(f"{wrong[0]!r} is not text, or has a NUL, which no shell word can hold")
    return Shell(shlex.join(str(value) for value in values))


def integer(value: object) -> Shell:
    """Decimal digits of an int from 0. Raises TypeError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is not a whole number from 0")
    return Shell(value)


SHELL = Language("shell", Shell, {"word": word, "words": words, "integer": integer})


def entrypoint(components: Sequence[str], plugin: Sequence[str] = (), *, port: int = PORT, gate: int = GATE) -> str:
    """
    The script for a workload that uses these components.

    + plugin: the words of the command that runs a memory plugin beside the workload; empty for none
    + port: the port of loopback where that plugin listens
    + gate: seconds that it has to become healthy

    Raises ValueError for a plugin without its component.
    """
    if plugin and MEMORY_PLUGIN not in components:
        raise ValueError("a memory plugin needs the component memory_plugin")
    urls = [{"variable": url.variable(name), "pair": f"options={url.options(name)}"} for name in components]
    template = environment(TEMPLATES / "entrypoint", SHELL).get_template("tenant-entrypoint.sh.j2")
    return template.render(urls=urls, plugin=list(plugin), port=port, gate=gate)
