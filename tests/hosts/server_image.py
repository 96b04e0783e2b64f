"""
The tenants' server image as an archive, so that a throwaway host need not build it.

Made once for a machine, by root's podman with the product's own script and recipe, and kept for later runs; another
recipe makes it anew. `python -m tests.hosts clean` removes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pgberth import commands
from pgberth.model.image import Image
from tests.hosts.commands import call
from tests.hosts.image import mirror
from tests.hosts.locks import held

PLACE = Path("/var/cache/pgberth-tests")

_BUILD_SECONDS = 900


def archive(image: Image) -> Path:
    """Where the image's archive is kept; in the name all that it was made of."""
    return PLACE / f"server-{image.postgres}-{image.suite}-{image.recipe}.tar"


def provide(image: Image | None = None) -> Path:
    """The archive; it is there afterwards."""
    image = image or Image()
    path = archive(image)
    with held(f"server-{image.suite}"):
        if not path.exists():
            _make(image, path)
    return path


def remove() -> Iterator[Path]:
    """Every archive made here, of whatever recipe."""
    for path in sorted(PLACE.glob("server-*")):
        path.unlink()
        yield path


def _make(image: Image, path: Path) -> None:
    PLACE.mkdir(mode=0o755, exist_ok=True)
    for old in PLACE.glob(f"server-{image.postgres}-{image.suite}-*"):
        old.unlink()
    arguments = (image.suite, image.tag, image.recipe, str(image.postgres), "".join(mirror()), ",".join(image.packages))
    script = commands.script("machine/build-image.sh")
    call("/bin/sh", "-c", script, "pgberth", *arguments, timeout=_BUILD_SECONDS)
    found = call("podman", "image", "inspect", "--format={{.Id}}", image.tag).out.strip()
    half = path.with_suffix(".half")
    # By its id, not its tag: whoever loads it must not find himself with the tag of an image built there.
    call("podman", "save", "--quiet", "--format=docker-archive", f"--output={half}", found, timeout=300, unbroken=True)
    call("podman", "rmi", image.tag, unbroken=True)
    half.rename(path)
