"""
Give tenants new containers on their volumes, with the inventory's image, settings and flags; canary first.

    pyinfra inventories/local.py deploy/recycle.py -y [--limit TENANT|RING] [--data pending=true] \\
        [--data max_down=N] [--data reason=TEXT]

Clients are cut off for about a second. No acknowledged write is lost, and what is red goes back to what ran before.
"""

from pgberth.verbs.recycle import recycle

recycle()
