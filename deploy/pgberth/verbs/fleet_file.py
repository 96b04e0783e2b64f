"""Inventories written for 0.1.0 import `fleet_beside` from here."""

from pgberth.inventory.fleet_file import fleet_beside

__all__ = ["fleet_beside"]
