"""Who has which image: one run's machines, each told as it is looked at, so that all of them come to run the same."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pgberth.model.image import Image


@dataclass(frozen=True)
class ImageState:
    """
    What a machine has of an image.

    + id: in its store, "" where it is not there
    + digest: recorded for a name of a registry
    """

    id: str = ""
    digest: str = ""


@dataclass
class ImageInventory:
    """
    + wanted: machine -> the images its tenants want, in the inventory's order
    + failed: whether the machine of that name failed in this run
    """

    desired: Mapping[str, Sequence[Image]]
    failed: Callable[[str], bool]
    _held: dict[tuple[str, Image], ImageState] = field(default_factory=dict)

    def __repr__(self) -> str:
        return "Stock()"

    def tell(self, machine: str, image: Image, held: ImageState) -> None:
        self._held[machine, image] = held

    def held(self, machine: str, image: Image) -> ImageState:
        return self._held.get((machine, image), ImageState())

    def source(self, image: Image) -> str:
        """The machine that all others have the image from: the first that holds it; "" where none does."""
        return next((machine for machine in self._takers(image) if self.held(machine, image).id), "")

    def maker(self, image: Image) -> str:
        """The machine that makes an image which nobody holds; "" where somebody does."""
        return "" if self.source(image) else next(self._takers(image), "")

    def lacking(self, image: Image) -> list[str]:
        """Machines that want the image and do not hold the one of its source."""
        desired = self.held(self.source(image), image).id
        return [machine for machine in self._takers(image) if self.held(machine, image).id != desired]

    def recorder(self, image: Image) -> str:
        """The machine whose digest counts for a name of a registry: the first that has one; "" where none has."""
        return next((machine for machine in self._asked(image) if self.held(machine, image).digest), "")

    def digest(self, image: Image) -> str:
        """The inventory's digest, or the recorded one, or "" where the tag was never asked for."""
        return image.digest or self.held(self.recorder(image), image).digest

    def _asked(self, image: Image) -> Iterator[str]:
        return (
            machine for machine, images in self.desired.items() if image in images and (machine, image) in self._held
        )

    def _takers(self, image: Image) -> Iterator[str]:
        return (machine for machine in self._asked(image) if not self.failed(machine))


_PREFIX = "parcels-"


@cache
def staging_directory() -> Path:
    """
    Where on this machine images lie between two others: a directory of this run's own that ends with it.

    What a killed run left there is removed by the next.
    """
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pgberth"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.glob(f"{_PREFIX}*"):
        if not _lives(left.name.removeprefix(_PREFIX).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def staged_archive(image_id: str) -> Path:
    """The file of that image between two machines; whole, or not there."""
    return staging_directory() / f"{image_id.removeprefix('sha256:')}.tar"


def _lives(pid: str) -> bool:
    with contextlib.suppress(PermissionError, ValueError):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
    return True
