"""Where the bundle's templates are: beside `deploy/` in a checkout, inside the package in a wheel."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent

TEMPLATES = next(
    place for place in (_PACKAGE.parent.parent / "templates", _PACKAGE / "templates") if (place / "sql").is_dir()
)


def cache_home() -> Path:
    """The directory, on the machine that runs pyinfra, of files that may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pgberth"
