"""An archive tells what image is in it before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pgberth.machine.archive import Archive
from tests.machine.archives import CONFIG, digest, docker_archive, oci_archive, tar


@pytest.mark.parametrize("write", [docker_archive, oci_archive])
def test_the_image_is_known_by_the_digest_of_its_configuration(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    assert Archive.read(str(write(tmp_path / "x.tar"))) == Archive(f"sha256:{digest(CONFIG)}", "amd64")


def test_a_compressed_archive_is_read_as_well(tmp_path: Path) -> None:
    assert Archive.read(str(docker_archive(tmp_path / "x.tar.gz", mode="w:gz"))).id == f"sha256:{digest(CONFIG)}"


def test_an_archive_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    before = Archive.read(str(docker_archive(tmp_path / "x.tar")))
    after = Archive.read(str(docker_archive(tmp_path / "x.tar", {**CONFIG, "architecture": "arm64"})))
    assert before.id != after.id
    assert after.architecture == "arm64"


def nothing(path: Path) -> Path:
    return path


def text(path: Path) -> Path:
    path.write_text("an image, surely")
    return path


def cut(path: Path) -> Path:
    whole = docker_archive(path).read_bytes()
    path.write_bytes(whole[:700])
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "absent": (nothing, "cannot be read"),
    "a directory": (lambda path: path.parent, "cannot be read"),
    "text": (text, "cannot be read"),
    "cut off": (cut, "cannot be read"),
    "a tar of something else": (lambda path: tar(path, {"root.txt": b"x"}), "is not the archive of an image"),
    "two images": (lambda path: docker_archive(path, images=2), "holds more than one image"),
    "no configuration": (lambda path: tar(path, {"manifest.json": [{"Config": "x.json"}]}), "has an unknown format"),
    "a manifest that is not a list": (lambda path: tar(path, {"manifest.json": {}}), "has an unknown format"),
    "a manifest that is not JSON": (lambda path: tar(path, {"manifest.json": b"{"}), "has an unknown format"),
    "an index of nothing": (lambda path: tar(path, {"index.json": {"manifests": []}}), "has an unknown format"),
}


@pytest.mark.parametrize("what", BAD)
def test_whatever_else_the_file_is_is_told_in_words(tmp_path: Path, what: str) -> None:
    write, says = BAD[what]
    with pytest.raises(ValueError, match=says):
        Archive.read(str(write(tmp_path / "x.tar")))
