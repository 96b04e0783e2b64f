"""SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677): what the server stores in place of a password."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from pgberth.model.secret import Secret

ITERATIONS = 4096  # PostgreSQL's own default, scram_iterations


def verifier(password: Secret, salt: bytes | None = None, iterations: int = ITERATIONS) -> Secret:
    """
    The verifier PostgreSQL would make of this password.

    + password: ASCII; ours are base64url, so that SASLprep changes nothing
    + salt: bytes; a fresh one of 16 where none is given

    Returns `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
    """
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal().encode("ascii"), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return Secret(f"SCRAM-SHA-256${iterations}:{text[0]}${text[1]}:{text[2]}")


def digest(verifier: Secret) -> str:
    """SHA-256 of a verifier, in hex: enough to compare with, useless to log in with."""
    return hashlib.sha256(verifier.reveal().encode()).hexdigest()


def matches(password: Secret, salt_base64: str, iterations: int, verifier_digest: str) -> bool:
    """Whether the server's verifier, known by salt, iterations and digest, is that of this password."""
    mine = verifier(password, base64.b64decode(salt_base64), iterations)
    return hmac.compare_digest(digest(mine), verifier_digest)
