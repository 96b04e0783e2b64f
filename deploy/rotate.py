"""
Give a tenant new passwords: superuser, migrator, monitor and app, with no client refused on the way.

    pyinfra inventories/local.py deploy/rotate.py -y [--limit TENANT|RING] [--data drain=SECONDS]

Clients read the published connection files again within `drain` seconds (30); sessions with the former password are
ended then. Killed at any moment, the next run finishes it.
"""

from pgberth.verbs.rotate import rotate

rotate()
