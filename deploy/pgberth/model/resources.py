"""Where the bundle's templates lie: beside `deploy/` in a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent

TEMPLATES = next(
    place for place in (_PACKAGE.parent.parent / "templates", _PACKAGE / "templates") if (place / "sql").is_dir()
)
