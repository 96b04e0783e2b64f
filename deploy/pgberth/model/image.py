"""The image a tenant's server runs from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

# 0.8.3 mends index corruption after a vacuum of HNSW, 0.8.4 "hnsw graph not repaired" (pgvector's changelog).
PGVECTOR_FLOOR = (0, 8, 4)
RECIPE_REVISION = 1  # raise it when the build script changes what lands in the image


@dataclass(frozen=True)
class Image:
    """
    An image built from the distribution's own packages.

    + suite: the distribution's suite that carries the packages
    + postgres: major version
    """

    suite: str = "forky"
    postgres: int = 18

    @property
    def packages(self) -> tuple[str, ...]:
        return (f"postgresql-{self.postgres}", f"postgresql-{self.postgres}-pgvector")

    @property
    def tag(self) -> str:
        return f"localhost/pgberth:{self.postgres}-{self.suite}"

    @property
    def recipe(self) -> str:
        """Fingerprint of what the image is built from; an image with another one is built anew."""
        return hashlib.sha256(f"{RECIPE_REVISION} {self.suite} {' '.join(self.packages)}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class BuiltImage:
    """
    An image that is there, as its labels and its id tell.

    + id: sha256:..., what containers are made from
    + uid, gid: the server's user inside
    + bindir: where the server's programs are
    """

    id: str
    uid: int
    gid: int
    bindir: str
    postgres: str
    pgvector: str
    recipe: str

    @property
    def major(self) -> int:
        return int(self.postgres.split(".")[0])

    @property
    def pgvector_is_old(self) -> bool:
        return version_of(self.pgvector) < PGVECTOR_FLOOR

    @classmethod
    def from_labels(cls, image_id: str, labels: Mapping[str, str]) -> BuiltImage | None:
        """The image those labels describe; None where one is missing, since then it is not ours."""
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


def version_of(text: str) -> tuple[int, ...]:
    """The leading dotted numbers of a version: `0.8.7-1` is (0, 8, 7)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def image_fault(image: object) -> str | None:
    """The rule that an inventory's image breaks, or None."""
    if not isinstance(image, Image):
        return "an Image(suite=..., postgres=...)"
    if not isinstance(image.suite, str) or not re.fullmatch(r"[a-z]{3,20}", image.suite):
        return "an Image whose suite is 3 to 20 of a-z"
    if isinstance(image.postgres, bool) or not isinstance(image.postgres, int) or not 16 <= image.postgres <= 30:
        return "an Image whose postgres is a major version from 16 to 30"
    return None
