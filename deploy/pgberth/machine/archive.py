"""Reads the archive of an image that `podman save` or `docker save` wrote to the control machine; never unpacks it."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Archive:
    """
    The one image in an archive.

    + id: sha256:..., the id that podman gives the image on every machine
    + architecture: in Go's words, e.g. amd64
    """

    id: str
    architecture: str

    @classmethod
    def read(cls, path: str) -> Archive:
        """Raises ValueError, with what is wrong with the file, where it cannot be read or holds something else."""
        try:
            return _read(path, Path(path).stat().st_mtime_ns)
        except (OSError, tarfile.TarError, EOFError) as error:
            raise ValueError(f"cannot be read: {error}") from None


@cache
def _read(path: str, _: int) -> Archive:
    with tarfile.open(path) as tar:
        config = _config(tar)
    return Archive(f"sha256:{hashlib.sha256(config).hexdigest()}", str(_json(config).get("architecture", "")))


def _config(tar: tarfile.TarFile) -> bytes:
    """The image's configuration: its digest is the image's id."""
    names = set(tar.getnames())
    try:
        if "manifest.json" in names:  # docker-archive
            [image] = _json(_member(tar, "manifest.json"))
            return _member(tar, image["Config"])
        if "index.json" in names:  # oci-archive
            [image] = _json(_member(tar, "index.json"))["manifests"]
            manifest = _json(_blob(tar, image["digest"]))
            return _blob(tar, manifest["config"]["digest"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"has an unknown format, or holds more than one image: {error!r}") from None
    raise ValueError("is not the archive of an image")


def _blob(tar: tarfile.TarFile, digest: str) -> bytes:
    return _member(tar, f"blobs/{digest.replace(':', '/')}")


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _json(text: bytes) -> Any:
    return json.loads(text)
