"""Pure values: what an inventory may say, and what follows from it. No pyinfra, no I/O."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Inventories written for 0.1.0 import `machine`, `tenant`, `Image` and the like from here."""
    public = import_module("pgberth.inventory")
    if name in public.__all__:
        return getattr(public, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
