"""Pure values: what an inventory may say, and what follows from it. No pyinfra, no I/O."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """
    The package as 0.1.0 has it, whose inventories import `machine`, `tenant`, `Image` and the like from here.

    `tenant` is a property, since a module of that name lies in this package: its import would put the module in the
    function's place. `from pgberth.model.tenant import ...` is not concerned.
    """

    @property
    def tenant(self) -> Any:
        return import_module("pgberth.inventory").tenant

    @tenant.setter
    def tenant(self, module: ModuleType) -> None:
        """What an import of the module does; it is found in sys.modules."""

    def __getattr__(self, name: str) -> Any:
        public = import_module("pgberth.inventory")
        if name in public.__all__:
            return getattr(public, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Package
