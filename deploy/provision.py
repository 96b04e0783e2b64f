"""
Bring machines and tenants to the inventory's state, and prove that every tenant works.

    pyinfra inventories/local.py deploy/provision.py -y [--limit TENANT|RING] [--data smoke=false]

Safe at any hour: a second run reports no changes, and a running tenant is never interrupted.
"""

from pgberth.verbs.provision import provision

provision()
