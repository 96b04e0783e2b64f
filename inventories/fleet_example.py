"""A fleet over SSH: its machines and tenants stand in the YAML file of the same name, each ring a group."""

from pgberth.inventory.fleet_file import fleet_beside

globals().update(fleet_beside(__file__))
