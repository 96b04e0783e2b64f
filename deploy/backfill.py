"""
Copy the legacy table agent_memories into memory_plugin, with its ids and row times, and compare every row.

    pyinfra inventories/local.py deploy/backfill.py -y --data tenant=TENANT --data mode=dry-run|apply|verify \\
        [--data schema=SCHEMA]

Safe to run again: a row that is there under its id is left as it is, and compared.
"""

from pgberth.verbs.backfill import backfill

backfill()
