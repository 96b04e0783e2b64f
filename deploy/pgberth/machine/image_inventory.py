"""Which machine of the run has which image, so that all of them come to run the same one."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pgberth.model.image import Image
from pgberth.run import current_run


@dataclass(frozen=True)
class ImageState:
    """
    What a machine has of an image.

    + id: of the image in its store; "" where the store has none
    + digest: recorded for an image that a registry names; "" where none is recorded
    """

    id: str = ""
    digest: str = ""


@dataclass
class ImageInventory:
    """
    The images of all machines of a run.

    + desired: machine -> the images that its tenants run from, in the inventory's order
    + failed: whether the machine of that name failed in this run
    """

    desired: Mapping[str, Sequence[Image]]
    failed: Callable[[str], bool]
    _states: dict[tuple[str, Image], ImageState] = field(default_factory=dict)

    def __repr__(self) -> str:
        return "ImageInventory()"

    def record(self, machine: str, image: Image, state: ImageState) -> None:
        self._states[machine, image] = state

    def state(self, machine: str, image: Image) -> ImageState:
        return self._states.get((machine, image), ImageState())

    def source(self, image: Image) -> str:
        """The machine that gives the image to all others: the first that has it; "" where none has it."""
        return next((machine for machine in self._usable(image) if self.state(machine, image).id), "")

    def builder(self, image: Image) -> str:
        """The machine that builds an image which no machine has; "" where one has it."""
        return "" if self.source(image) else next(self._usable(image), "")

    def lacking(self, image: Image) -> list[str]:
        """The machines that need the image and do not have the one of its source."""
        desired = self.state(self.source(image), image).id
        return [machine for machine in self._usable(image) if self.state(machine, image).id != desired]

    def digest_source(self, image: Image) -> str:
        """The machine whose recorded digest counts for a registry's image: the first with one; "" where none has."""
        return next((machine for machine in self._recorded(image) if self.state(machine, image).digest), "")

    def digest(self, image: Image) -> str:
        """The inventory's digest, or the recorded one, or "" where the tag was never resolved."""
        return image.digest or self.state(self.digest_source(image), image).digest

    def _recorded(self, image: Image) -> Iterator[str]:
        return (
            machine for machine, images in self.desired.items() if image in images and (machine, image) in self._states
        )

    def _usable(self, image: Image) -> Iterator[str]:
        return (machine for machine in self._recorded(image) if not self.failed(machine))


_PREFIX = "parcels-"  # earlier versions used it too, so that the next run removes what they left


@dataclass(frozen=True)
class StagingDirectory:
    """Where images lie on this machine on their way between two others. The run removes it when it ends."""

    path: Path


def staging_directory() -> Path:
    """The run's staging directory, created at its first use."""
    return current_run().part(StagingDirectory, _create_staging_directory).path


def _create_staging_directory() -> StagingDirectory:
    """A killed run leaves its directory behind; this removes it."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pgberth"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.glob(f"{_PREFIX}*"):
        if not _process_exists(left.name.removeprefix(_PREFIX).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return StagingDirectory(made)


def staged_archive(image_id: str) -> Path:
    """The file of that image on its way between two machines. It is whole, or it does not exist."""
    return staging_directory() / f"{image_id.removeprefix('sha256:')}.tar"


def _process_exists(pid: str) -> bool:
    with contextlib.suppress(PermissionError, ValueError):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
    return True
