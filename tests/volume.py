"""Directories that look like a tenant's volume, as far as scripts can tell without a server."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from pgberth.model import layout
from tests.sample import MARKER, SYSTEM

NOTE = "pgberth.initialising"


def marked(place: Path, system: str = SYSTEM, **changes: Any) -> Path:
    """A volume with a cluster of that system identifier, and acme's marker but for the changes."""
    cluster(place, system)
    (place / layout.MARKER).write_text(json.dumps({**MARKER, **changes}) + "\n")
    return place


def cluster(place: Path, system: str = SYSTEM, major: int = 18) -> Path:
    """The files of a cluster that has been in use, and no marker."""
    data = place / f"{major}/data"
    (data / "global").mkdir(parents=True)
    (data / "global/pg_control").write_bytes(struct.pack("=Q", int(system)) + bytes(8184))
    (data / "PG_VERSION").write_text(f"{major}\n")
    (data / "postmaster.opts").write_text("postgres\n")
    (data / "base").mkdir()
    return place


def begun(place: Path, tenant: str = "acme", generation: int = 1) -> Path:
    """What a killed initialisation leaves."""
    (place / "18/data/base/1").mkdir(parents=True)
    (place / "18/data/PG_VERSION").write_text("18\n")
    (place / NOTE).write_text(json.dumps({"tenant": tenant, "generation": generation}) + "\n")
    return place


def tree_hash(place: Path) -> str:
    """Of every name, kind, mode, link and byte below a directory, that directory's own included."""
    digest = hashlib.sha256()
    for path in [place, *sorted(place.rglob("*"))]:
        kept = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(place)} {path.lstat().st_mode} {len(kept)}\n".encode() + kept)
    return digest.hexdigest()
