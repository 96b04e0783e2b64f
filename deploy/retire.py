"""
A tenant leaves: its container and its unit go, its volume, secrets and spec file stay. Then take it off the inventory.

    pyinfra inventories/local.py deploy/retire.py -y --data tenant=NAME

A deploy with the tenant in the inventory brings it back as it was.
"""

from pgberth.verbs.retire import retire

retire()
