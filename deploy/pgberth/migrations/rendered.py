"""
Rendered migrations, kept between runs for those that only compare: rendering all of them takes a fifth of a second.

An entry's name is the digest of all that it depends on: the files, the values, and the code that renders them. So an
outdated entry is never found, and two runs at once write the same. What is applied is never read from here: the runner
renders it again (see plan_up).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pgberth.rendering
from pgberth.migrations import rules, source, statements
from pgberth.migrations.source import SQL_ROOT, Component, Migration, Parameters
from pgberth.model.resources import cache_home

Kept = TypeVar("Kept")
_MOST = 200  # entries; the oldest go


def load(component: str, parameters: Parameters | None = None, root: Path = SQL_ROOT) -> Component:
    """As source.load, of what an earlier run kept where there is such an entry. Raises Refused as it does."""
    values = {**source.ROLES, **source.DEFAULTS.get(component, {}), **(parameters or {})}
    return _kept(
        ("component", component, sorted(values.items()), *_digests(root, component)),
        lambda: source.load(component, parameters, root),
        lambda made: {"versions": list(map(asdict, made.versions)), "repeatables": list(map(asdict, made.repeatables))},
        lambda body: Component(
            component, *(tuple(map(_migration, body[kind])) for kind in ("versions", "repeatables"))
        ),
    )


def parameters(component: str, root: Path = SQL_ROOT) -> frozenset[str]:
    """As source.parameters."""
    return _kept(
        ("parameters", component, *_digests(root, component)),
        lambda: source.parameters(component, root),
        sorted,
        frozenset,
    )


def _kept(
    key: tuple[Any, ...], make: Callable[[], Kept], encode: Callable[[Kept], Any], decode: Callable[[Any], Kept]
) -> Kept:
    place = cache_home() / "rendered"
    path = place / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # no entry, or half of one: rendered again
        if _is_ours(path):
            return decode(json.loads(path.read_text("utf-8")))
    made = make()
    with contextlib.suppress(OSError):  # a home that cannot be written to costs time, and nothing else
        _write(place, path, json.dumps(encode(made)))
    return made


def _is_ours(path: Path) -> bool:
    """Whether only this account can have written it."""
    entries = path.stat(follow_symlinks=False), path.parent.stat(follow_symlinks=False)
    return all(entry.st_uid == os.geteuid() and not entry.st_mode & 0o022 for entry in entries)


def _write(place: Path, path: Path, text: str) -> None:
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place, prefix=".new-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
    entries = sorted(place.iterdir(), key=lambda entry: entry.stat().st_mtime)
    for entry in entries[:-_MOST]:
        entry.unlink(missing_ok=True)


def _migration(body: dict[str, Any]) -> Migration:
    needs = body["needs"]
    tuples = {"gate": tuple(body["gate"]), "missing": tuple(body["missing"])}
    return Migration(**{**body, **tuples, "needs": tuple(needs) if needs is not None else None})


def _digests(root: Path, component: str) -> Iterator[str]:
    """Of the component's files, of those that they extend, and of the code that renders them."""
    for directory in (root / component, root):
        for path in sorted(directory.glob("*.j2")):
            yield f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    yield _code_digest()


@lru_cache(maxsize=1)
def _code_digest() -> str:
    rendering = Path(pgberth.rendering.__file__ or "").parent
    code = [*sorted(rendering.glob("*.py")), *(Path(module.__file__ or "") for module in (source, rules, statements))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()
