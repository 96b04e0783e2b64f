"""
Pure values: what an inventory may say, and what follows from it. No pyinfra, no I/O.

Inventories import `machine`, `tenant`, `Image`, `Listen`, `Sidecar` and `ALL` from here.
"""

from pgberth.model.declare import ALL, machine, tenant
from pgberth.model.image import Image
from pgberth.model.listen import Listen
from pgberth.model.sidecar import Sidecar

__all__ = ["ALL", "Image", "Listen", "Sidecar", "machine", "tenant"]
