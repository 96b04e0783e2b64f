"""
Erase one subject from the append-only tables: the sanctioned way, with a tombstone in the ledger and a receipt.

    pyinfra inventories/local.py deploy/erase.py -y --limit TENANT --data tenant=TENANT \\
        --data subject=task_run:UUID|memory_procedure:UUID|knowledge_node:UUID --data reason=TEXT

It deletes data, and there is no undo. Backups keep the rows until their retention ends.
"""

from pgberth.verbs.erase import erase

erase()
