"""Where a tenant's password comes from when it is not made on the machine: a reference, never the password itself."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from pgberth.model.roles import SECRETS

SOURCES_RULE = (
    f"a dict of {', '.join(SECRETS)} -> secret://env/NAME, secret://file/PATH or secret://command/WORDS; "
    "{tenant} in one stands for the tenant's name"
)
PASSWORD_RULE = "one line of 16 to 256 letters, digits and signs of ASCII, without blanks"  # noqa: S105
_FORM = re.compile(r"secret://(env|file|command)/(.+)")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSWORD = re.compile(r"[!-~]{16,256}")


@dataclass(frozen=True)
class Source:
    """
    A reference, read.

    + kind: "env", "file" or "command"
    + words: the variable's name, the absolute path, or the command with its arguments
    """

    kind: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        """As an inventory has it: what may be printed."""
        told = self.words[0].removeprefix("/") if self.kind == "file" else shlex.join(self.words)
        return f"secret://{self.kind}/{told}"


def source(reference: object, tenant: str) -> Source | None:
    """What a reference of this tenant's names; None where it is none."""
    found = _FORM.fullmatch(reference) if isinstance(reference, str) and reference.isprintable() else None
    if found is None:
        return None
    kind, rest = found[1], found[2].replace("{tenant}", tenant)
    if kind == "file":
        return Source(kind, (f"/{rest}",))
    try:
        words = tuple(shlex.split(rest))
    except ValueError:  # a quotation that does not end
        return None
    named = len(words) == 1 and _ENVIRONMENT.fullmatch(words[0])
    return Source(kind, words) if words and (kind == "command" or named) else None


def sources_fault(value: object) -> str | None:
    """The rule that an inventory's `secrets` break, or None."""
    if not isinstance(value, dict):
        return SOURCES_RULE
    for kind, reference in value.items():
        if kind not in SECRETS or source(reference, "acme") is None:
            return SOURCES_RULE
    return None


def password_fault(text: str) -> str | None:
    """The rule that a password from elsewhere breaks, or None."""
    return None if _PASSWORD.fullmatch(text) else PASSWORD_RULE
