"""
Ask every tenant for its promises: logins, refusals, schemas, search, hardening. Changes nothing.

    pyinfra inventories/local.py deploy/verify.py -y [--limit TENANT|RING]
"""

from pgberth.verbs.verify import verify

verify()
