"""
Bind a tenant's knowledge store to its embedding model, then build the vector index.

    pyinfra inventories/local.py deploy/register_model.py -y --limit TENANT \\
        --data model=NAME --data dimension=N --data hash=FINGERPRINT

The same signature again changes nothing; another one is refused, naming both.
"""

from pgberth.verbs.register_model import register_model

register_model()
