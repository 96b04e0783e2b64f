"""A server that listens beyond loopback accepts only sessions with TLS, and clients can verify that it is this one."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from pgberth.checks.context import Check, CheckContext, expect_refused
from pgberth.database.tls import shown
from pgberth.model.listen import Listen
from pgberth.model.roles import SUITE

_PAGE = "runbooks/certificate-is-refused.md"
# The answer of pg_hba.conf, or the server's where no line is for such sessions.
_NO_TLS = ("no encryption", "SSL off")


def _only(context: CheckContext) -> Iterator[str]:
    return expect_refused(
        lambda: context.connect(SUITE, context.suite_password, sslmode="disable").close(),
        lambda error: any(words in str(error) for words in _NO_TLS),
        f"{SUITE} without TLS",
        f"{SUITE} was let in without TLS",
    )


def _certificate(context: CheckContext) -> Iterator[str]:
    """Verifies what the server shows to its next client, as a client does that trusts what is published."""
    # Imported only where it is needed: cryptography takes a large part of a second run's time.
    from pgberth.database import certificate

    address, name = str(context.listening["address"]), str(context.listening["host"])
    if context.listening.get("ca") and not context.root.strip():
        yield "the authority that clients trust is missing"
        return
    try:
        client = ssl.create_default_context(cadata=context.root or None)
        found = shown(context.address, client, name)
    except ssl.SSLCertVerificationError as error:
        yield f"a client that verifies it hangs up: {error.verify_message}"
        return
    except (OSError, ValueError) as error:
        yield f"it shows no certificate that can be verified: {error}"
        return
    now = certificate.utc()
    if why := certificate.fault(found, Listen(address, name), now, days=0):
        yield f"the certificate it shows {why}"
    # It still works: a note, since only a deploy or an operator can do something about it, and in time.
    context.notes.extend(f"the certificate it shows {why}; {_PAGE}" for why in certificate.ending(found, now))
    context.notes.extend(f"what clients trust {why}; {_PAGE}" for why in certificate.ending(context.root, now))


CHECKS = (
    Check("tls-only", "no session without TLS is accepted", _only, beyond_loopback=True),
    Check("tls-certificate", "clients accept the certificate that it shows", _certificate, beyond_loopback=True),
)
