"""Fetches external passwords on the control machine. From here they travel on stdin, like all others."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pgberth.model.plain_file import UnfitFile, read_plain_file
from pgberth.model.problems import Problem, Refused
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant
from pgberth.run import current_run
from pgberth.secrets.reference import Source, password_fault
from pgberth.secrets.reference import source as source_of

ExternalPasswords = Mapping[str, Secret]  # kind of secret, e.g. "app" -> the password from its source

_SECONDS = 60  # for a command: its user may have to touch a security key first
_AT_ONCE = 8
_LIMIT = 4096  # bytes of a file or of what a command prints; a password has 256 at most
_PAGE = "nothing was touched; runbooks/passwords-from-elsewhere.md"


def resolve(tenants: list[Tenant]) -> dict[str, ExternalPasswords]:
    """
    Tenant -> the passwords from the sources that the inventory names for it.

    Raises Refused with every source that gives no password, and with every password that appears twice: a password must
    open one role of one tenant only.
    """
    sources = {
        (tenant.name, kind): found
        for tenant in tenants
        for kind, reference in tenant.secrets.items()
        if (found := source_of(reference, tenant.name)) is not None
    }
    if not sources:
        return {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = dict(zip(sources, pool.map(_fetch, sources.values()), strict=True))
    problems = [
        Problem(f"{tenant}: password of {kind}: {sources[tenant, kind]} {answer}", _PAGE)
        for (tenant, kind), answer in answers.items()
        if isinstance(answer, str)
    ]
    secrets = {user: answer for user, answer in answers.items() if isinstance(answer, Secret)}
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
        Problem(f"{' and '.join(names)} have the same password", f"give each a different one; {_PAGE}")
        for names in users.values()
        if len(names) > 1
    ]


def _fetch(source: Source) -> Secret | str:
    """The password; or the reason why there is none, as the end of a sentence that begins with the source."""
    read = {"env": _read_environment, "file": _read_file, "command": _run_command}[source.kind]
    try:
        text = read(source.words)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError, LookupError, UnfitFile) as error:
        return _reason(error)
    text = text.removesuffix("\n")
    desired = password_fault(text)
    return Secret(text) if desired is None else f"does not give a password: it must be {desired}"


def _reason(error: Exception) -> str:
    """Why the source gave nothing. Never the output of a command: it may be the password."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"gave no answer within {_SECONDS} s"
    if isinstance(error, subprocess.CalledProcessError):
        return f"ended with exit code {error.returncode}; run that command yourself to see why"
    if isinstance(error, UnfitFile):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "does not give text"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return "is not set"


@dataclass
class TakenVariables:
    """Environment variable -> its value, for those that were removed from the environment."""

    values: dict[str, str] = field(default_factory=dict)


def _read_environment(words: tuple[str, ...]) -> str:
    [name] = words
    taken = current_run().part(TakenVariables).values
    if name in os.environ:
        # Removed, since every process that this one starts would inherit it.
        taken[name] = os.environ.pop(name)
    return taken[name]


def _read_file(words: tuple[str, ...]) -> str:
    return read_plain_file(words[0], _LIMIT, private=True).decode()


def _run_command(words: tuple[str, ...]) -> str:
    deadline = time.monotonic() + _SECONDS
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            output = _output(process, deadline)
            code = process.wait(max(deadline - time.monotonic(), 0.01))
        except BaseException:
            process.kill()
            raise
    if code:
        raise subprocess.CalledProcessError(code, words)
    return output.decode()


def _output(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """What it prints, to its end. Raises UnfitFile where that is too much, TimeoutExpired where it takes too long."""
    assert process.stdout is not None  # noqa: S101  (PIPE above)
    descriptor, output = process.stdout.fileno(), b""
    while select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
        part = os.read(descriptor, _LIMIT)
        if not part:
            return output
        output += part
        if len(output) > _LIMIT:
            raise UnfitFile(f"prints more than {_LIMIT} bytes")
    raise subprocess.TimeoutExpired(process.args, _SECONDS)
