"""A file of variables that a shell, systemd, podman, docker and python-dotenv read to the same values."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLAIN = re.compile(r"[A-Za-z0-9_:/?=@%.,+-]*")  # the same to all of them, unquoted
_SHARED = re.compile(r"(?:(?![\"'$\\`])[!-~])*")  # in single quotes or without, whatever a reader makes of quotes
_FIRST_HALF = "# A shell reads up to `return`; all others take the last line of a name.\n"


def environment_file(values: Mapping[str, str]) -> str:
    """
    Name=value lines. Values with a character that a shell would act on, such as &, are there twice.

    podman and docker keep quotes as part of a value, and a shell needs them. So a shell finds its lines first, in
    quotes, and stops reading after them.

    + values: variable -> its value, of printable ASCII without blanks, quotes, backslashes and $

    Raises ValueError where a value has another character.
    """
    for name, value in values.items():
        if not _SHARED.fullmatch(value):
            raise ValueError(f"{name}: readers do not agree on some of its characters")
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    if all(_PLAIN.fullmatch(value) for value in values.values()):
        return lines
    quoted = "".join(f"{name}='{value}'\n" for name, value in values.items())
    return f"{_FIRST_HALF}{quoted}return\n{lines}"
