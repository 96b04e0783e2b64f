"""
Say what is there: state, versions, generation, what a recycle would change, drift, and leftovers nobody owns.

    pyinfra inventories/local.py deploy/status.py -y [--limit TENANT|RING]
"""

from pgberth.verbs.status import status

status()
