"""Passwords that come from elsewhere, fetched here on the control machine; they travel on by stdin like all others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pgberth.model.problems import Problem, Refused
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant
from pgberth.run import current_run
from pgberth.secrets.reference import Source, password_fault
from pgberth.secrets.reference import source as read

ExternalPasswords = Mapping[str, Secret]  # a secret's kind, e.g. "app" -> the password its source gives

_SECONDS = 60  # for a command: whoever it asks may have to touch a key first
_AT_ONCE = 8
_PAGE = "nothing was touched; runbooks/passwords-from-elsewhere.md"


def resolve(tenants: list[Tenant]) -> dict[str, ExternalPasswords]:
    """
    Tenant -> what the sources give that its inventory names.

    Raises Refused with everything that does not resolve, and with every password that is given twice: each opens one
    role of one tenant.
    """
    asked = {
        (tenant.name, kind): found
        for tenant in tenants
        for kind, reference in tenant.secrets.items()
        if (found := read(reference, tenant.name)) is not None
    }
    if not asked:
        return {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = dict(zip(asked, pool.map(_answer, asked.values()), strict=True))
    problems = [
        Problem(f"{tenant}: password of {kind}: {asked[tenant, kind]} {answer}", _PAGE)
        for (tenant, kind), answer in answers.items()
        if isinstance(answer, str)
    ]
    secrets = {whose: answer for whose, answer in answers.items() if isinstance(answer, Secret)}
    if problems := [*problems, *_recurring(secrets)]:
        raise Refused(problems)
    return {
        tenant.name: {kind: secret for (name, kind), secret in secrets.items() if name == tenant.name}
        for tenant in tenants
    }


def _recurring(secrets: Mapping[tuple[str, str], Secret]) -> list[Problem]:
    users: dict[Secret, list[str]] = {}
    for (tenant, kind), secret in secrets.items():
        users.setdefault(secret, []).append(f"{kind} of {tenant}")
    return [
        Problem(f"one password is given for {' and '.join(names)}", f"give each its own; {_PAGE}")
        for names in users.values()
        if len(names) > 1
    ]


def _answer(source: Source) -> Secret | str:
    """The password, or why there is none, in words that follow the source's name."""
    ask = {"env": _of_environment, "file": _of_file, "command": _of_command}[source.kind]
    try:
        text = ask(source.words)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError, LookupError) as error:
        return _told(error)
    text = text.removesuffix("\n")
    desired = password_fault(text)
    return Secret(text) if desired is None else f"gives no password: it must be {desired}"


def _told(error: Exception) -> str:
    """Never what a command said: it may be the password."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"gave no answer within {_SECONDS} s"
    if isinstance(error, subprocess.CalledProcessError):
        return f"ended with exit code {error.returncode}; run that command yourself to see why"
    if isinstance(error, UnicodeDecodeError):
        return "gives something that is not text"
    if isinstance(error, OSError):
        return f"cannot be had: {error.strerror or error}"
    return "is not set"


@dataclass
class TakenVariables:
    """Environment variable -> what it held, of those that were taken out of the environment."""

    values: dict[str, str] = field(default_factory=dict)


def _of_environment(words: tuple[str, ...]) -> str:
    [name] = words
    taken = current_run().part(TakenVariables).values
    if name in os.environ:
        # Taken out, or whatever this process starts would carry it.
        taken[name] = os.environ.pop(name)
    return taken[name]


def _of_file(words: tuple[str, ...]) -> str:
    return Path(words[0]).read_text()


def _of_command(words: tuple[str, ...]) -> str:
    asked = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True)
    return asked.stdout.decode()
