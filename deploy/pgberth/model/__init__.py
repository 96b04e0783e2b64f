"""
Pure values: what an inventory may say, and what follows from it. No pyinfra, no I/O.

Inventories import `machine`, `tenant`, `Image` and `ALL` from here.
"""

from pgberth.model.declare import ALL, machine, tenant
from pgberth.model.image import Image

__all__ = ["ALL", "Image", "machine", "tenant"]
