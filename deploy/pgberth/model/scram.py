"""SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677), which the server stores in place of passwords."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from pgberth.model.secret import Secret

ITERATIONS = 4096  # PostgreSQL's own default, scram_iterations


def verifier(password: Secret, salt: bytes | None = None, iterations: int = ITERATIONS) -> Secret:
    """
    The verifier that PostgreSQL would compute from this password.

    + password: ASCII, so that SASLprep changes nothing
    + salt: bytes; 16 random ones by default

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
    """SHA-256 of a verifier, in hex: it can be compared, and nobody can log in with it."""
    return hashlib.sha256(verifier.reveal().encode()).hexdigest()


def matches(password: Secret, salt_base64: str, iterations: int, verifier_digest: str) -> bool:
    """Whether the server's verifier, with this salt, iterations and digest, is that of this password."""
    expected = verifier(password, base64.b64decode(salt_base64), iterations)
    return hmac.compare_digest(digest(expected), verifier_digest)
