"""
The gates a change passes before the ring `production`, each with a receipt.

    pyinfra inventories/local.py deploy/stage.py -y --limit canary --data stage=A|B|C

A: throwaway tenants beside the canary, fresh, with pgvector there already, in the wrong schema, and with old rows.
B: the canary ring, recycled in any case. C: a real task on the canary, committed, found, and removed again.
"""

from pgberth.verbs.stage import stage

stage()
