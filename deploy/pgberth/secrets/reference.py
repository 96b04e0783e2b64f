"""References to external passwords: where to read one, never the password itself."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from pgberth.model.roles import SECRETS

SOURCES_RULE = (
    f"a dict of {', '.join(SECRETS)} -> secret://env/NAME, secret://file/PATH or secret://command/WORDS; "
    "{tenant} in it stands for the tenant's name"
)
PASSWORD_RULE = "one line of 16 to 256 printable ASCII characters without blanks"  # noqa: S105
_FORM = re.compile(r"secret://(env|file|command)/(.+)")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSWORD = re.compile(r"[!-~]{16,256}")


@dataclass(frozen=True)
class Source:
    """
    A parsed reference.

    + kind: "env", "file" or "command"
    + words: the variable's name, the absolute path, or the command with its arguments
    """

    kind: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        """As in an inventory: it may be printed."""
        shown = self.words[0].removeprefix("/") if self.kind == "file" else shlex.join(self.words)
        return f"secret://{self.kind}/{shown}"


def source(reference: object, tenant: str) -> Source | None:
    """The source that a reference of this tenant names; None where the text is not a reference."""
    found = _FORM.fullmatch(reference) if isinstance(reference, str) and reference.isprintable() else None
    if found is None:
        return None
    kind, rest = found[1], found[2].replace("{tenant}", tenant)
    if kind == "file":
        return Source(kind, (f"/{rest}",))
    try:
        words = tuple(shlex.split(rest))
    except ValueError:  # an unclosed quotation
        return None
    named = len(words) == 1 and _ENVIRONMENT.fullmatch(words[0])
    return Source(kind, words) if words and (kind == "command" or named) else None


def sources_fault(value: object) -> str | None:
    """The rule that these `secrets` violate, or None where it is valid."""
    if not isinstance(value, dict):
        return SOURCES_RULE
    for kind, reference in value.items():
        if kind not in SECRETS or source(reference, "acme") is None:
            return SOURCES_RULE
    return None


def password_fault(text: str) -> str | None:
    """The rule that this external password violates, or None where it is valid."""
    return None if _PASSWORD.fullmatch(text) else PASSWORD_RULE
