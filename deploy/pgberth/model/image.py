"""The image that a tenant's server runs from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

# 0.8.3 fixes index corruption after a vacuum of HNSW, 0.8.4 fixes "hnsw graph not repaired" (pgvector's changelog).
PGVECTOR_FLOOR = (0, 8, 4)
# The first with iterative scans: with an older one a filtered search returns too few rows, and no error says so.
PGVECTOR_LEAST = (0, 8, 0)
REGISTRY_TAG = "localhost/pgberth-registry:"  # prefix of the tag, in a machine's store, of a registry's image
_RECIPE = ("suite", "postgres")
RECIPE_REVISION = 1  # increase it when the build script changes the contents of the image


@dataclass(frozen=True, repr=False)
class Image:
    """
    An image built from the distribution's own packages; or an image from an archive; or an image of a registry.

    + suite: the distribution's suite that has the packages
    + postgres: major version
    + archive: path, on the control machine, of a file that `podman save` or `docker save` wrote
    + name: in a registry, e.g. registry.example:5000/x/postgres:18; with a tag, or a digest beside it, or both
    + digest: sha256:..., of the manifest. A tag without one is resolved once, and its digest recorded
    """

    suite: str = "forky"
    postgres: int = 18
    archive: str = ""
    name: str = ""
    digest: str = ""

    def __repr__(self) -> str:
        """As in an inventory."""
        fields = {
            name: value for name, value in vars(self).items() if value != "" and (self.built or name not in _RECIPE)
        }
        return f"Image({', '.join(f'{name}={value!r}' for name, value in fields.items())})"

    @property
    def built(self) -> bool:
        """Whether it is built from packages."""
        return not self.archive and not self.name and not self.digest

    @property
    def repository(self) -> str:
        """The name without its tag."""
        return self.name.removesuffix(f":{self._version}") if self._version else self.name

    @property
    def _version(self) -> str:
        return self.name.rpartition("/")[2].partition(":")[2]

    @property
    def packages(self) -> tuple[str, ...]:
        return (f"postgresql-{self.postgres}", f"postgresql-{self.postgres}-pgvector")

    @property
    def tag(self) -> str:
        """Its name in the store of a machine."""
        if self.archive:
            return f"localhost/pgberth-archive:{_slug(self.archive)}"
        if self.name:
            return f"{REGISTRY_TAG}{_slug(self.name)}"
        return f"localhost/pgberth:{self.postgres}-{self.suite}"

    @property
    def recipe(self) -> str:
        """Fingerprint of what the image is built from; an image with another fingerprint is built again."""
        return hashlib.sha256(f"{RECIPE_REVISION} {self.suite} {' '.join(self.packages)}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class BuiltImage:
    """
    An image in a machine's store, as its id and its labels describe it.

    + id: sha256:..., which containers are created from
    + uid, gid: of the server's user inside
    + bindir: the directory of the server's programs
    + recipe: fingerprint of what it was built from; "" where we did not build it
    + digest: sha256:..., of its manifest, where it came from a registry
    """

    id: str
    uid: int
    gid: int
    bindir: str
    postgres: str
    pgvector: str
    recipe: str
    digest: str = ""

    @property
    def major(self) -> int:
        return int(self.postgres.split(".")[0])

    @classmethod
    def from_labels(cls, image_id: str, labels: Mapping[str, str]) -> BuiltImage | None:
        """The image that these labels describe; None where a label is missing, since then we did not build it."""
        try:
            return cls(
                id=image_id,
                uid=int(labels["pgberth.uid"]),
                gid=int(labels["pgberth.gid"]),
                bindir=labels["pgberth.bindir"],
                postgres=labels["pgberth.postgres"],
                pgvector=labels["pgberth.pgvector"],
                recipe=labels["pgberth.recipe"],
            )
        except (KeyError, ValueError):
            return None

    @classmethod
    def from_answer(cls, image_id: str, lines: list[str]) -> BuiltImage | None:
        """
        The image that templates/machine/image-facts.sh inspected; None where it has no PostgreSQL with pgvector.

        + lines: the script's output
        """
        facts = dict(line.split("=", 1) for line in lines if "=" in line)
        labels = {f"pgberth.{name}": text for name, text in facts.items()}
        image = cls.from_labels(image_id, {**labels, "pgberth.recipe": ""})
        return image if image is not None and version_of(image.postgres) and image.pgvector else None


def _slug(path: str) -> str:
    """The characters of a file's name that a tag may have, and a digest that distinguishes files of the same name."""
    name = re.sub(r"[^A-Za-z0-9.-]", "-", path.rpartition("/")[2])[:60].strip(".-")
    return f"{name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}".strip("-")


def dotted(version: tuple[int, ...]) -> str:
    """`0.8.4`, of (0, 8, 4)"""
    return ".".join(map(str, version))


def version_of(text: str) -> tuple[int, ...]:
    """The leading dotted numbers of a version: `0.8.7-1` is (0, 8, 7)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def image_fault(image: object) -> str | None:
    """The rule that this image violates, or None where it is valid."""
    if not isinstance(image, Image):
        return "an Image(suite=..., postgres=...), an Image(archive=...) or an Image(name=..., digest=...)"
    if image.archive != "":
        return _archive_fault(image)
    if image.name != "" or image.digest != "":
        return _registry_fault(image)
    if not isinstance(image.suite, str) or not re.fullmatch(r"[a-z]{3,20}", image.suite):
        return "an Image whose suite is 3 to 20 of a-z"
    if isinstance(image.postgres, bool) or not isinstance(image.postgres, int) or not 16 <= image.postgres <= 30:
        return "an Image whose postgres is a major version from 16 to 30"
    return None


def _archive_fault(image: Image) -> str | None:
    path = image.archive
    if not isinstance(path, str) or not path.isprintable() or path.startswith("-"):
        return "an Image whose archive is the path of a file, not starting with -"
    return None if image == Image(archive=path) else "an Image with an archive alone: its contents determine the rest"


# A dot or a port distinguishes a registry's host from the first part of a path, as for podman and docker.
_HOST = r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+)(:[0-9]{1,5})?|[a-z0-9-]+:[0-9]{1,5}"
_NAME = re.compile(rf"({_HOST})(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?")


def _registry_fault(image: Image) -> str | None:
    name, digest = image.name, image.digest
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "an Image whose name is registry.host/path or registry.host/path:tag, and any digest apart from it"
    if digest != "" and not (isinstance(digest, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", digest)):
        return "an Image whose digest is sha256: and 64 of 0-9a-f"
    if not digest and image.repository == name:
        return "an Image whose name has a tag, or a digest beside it"
    return (
        None
        if image == Image(name=name, digest=digest)
        else "an Image without suite and postgres: its contents determine them"
    )
