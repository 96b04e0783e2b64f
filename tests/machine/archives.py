"""Archives of images without a layer, as podman and docker write them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG: Mapping[str, Any] = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def digest(body: Any) -> str:
    return hashlib.sha256(_bytes(body)).hexdigest()


def tar(path: Path, members: Mapping[str, Any], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for name, body in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(_bytes(body))
            made.addfile(entry, io.BytesIO(_bytes(body)))
    return path


def docker_archive(path: Path, config: Mapping[str, Any] = CONFIG, images: int = 1, mode: str = "w") -> Path:
    name = f"{digest(config)}.json"
    manifest = [{"Config": name, "RepoTags": [], "Layers": []}] * images
    return tar(path, {name: config, "manifest.json": manifest}, mode)


def oci_archive(path: Path, config: Mapping[str, Any] = CONFIG) -> Path:
    manifest = {"schemaVersion": 2, "config": {"digest": f"sha256:{digest(config)}"}, "layers": []}
    index = {"schemaVersion": 2, "manifests": [{"digest": f"sha256:{digest(manifest)}"}]}
    blobs = {f"blobs/sha256/{digest(body)}": body for body in (config, manifest)}
    return tar(path, {**blobs, "index.json": index})
