"""
What operators write: inventories in Python or YAML, checked as a whole and read as a Fleet.

Inventories import `machine`, `tenant`, `Image`, `Listen`, `Sidecar` and `ALL` from here.
"""

from pgberth.inventory.declare import ALL, machine, tenant
from pgberth.model.image import Image
from pgberth.model.listen import Listen
from pgberth.model.sidecar import Sidecar

__all__ = ["ALL", "Image", "Listen", "Sidecar", "machine", "tenant"]
