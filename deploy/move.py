"""
Bring what an older installation left in public, or pgvector from a component's schema, where it belongs.

    pyinfra inventories/local.py deploy/move.py -y --limit TENANT

Rows keep their ids and times; what differs from a row of the same key stops it with nothing changed.
"""

from pgberth.verbs.move import move

move()
