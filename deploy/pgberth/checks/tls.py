"""A server that listens beyond loopback: nobody gets in without TLS, and clients can tell that it is this one."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import psycopg

from pgberth.checks.context import Check, CheckContext
from pgberth.database.tls import shown
from pgberth.model.listen import Listen

# Our own are renewed a month before their end by any deploy: two weeks are what nobody ran one in.
_DAYS = 14
# pg_hba.conf's own answer, or the server's where no line is for sessions of that kind.
_NO_TLS = ("no encryption", "SSL off")


def _only(context: CheckContext) -> Iterator[str]:
    try:
        context.connect(context.login, context.password, sslmode="disable").close()
    except psycopg.OperationalError as error:
        if not any(words in str(error) for words in _NO_TLS):
            yield f"{context.login} without TLS was refused for another reason: {error}"
    else:
        yield f"{context.login} was let in without TLS"


def _certificate(context: CheckContext) -> Iterator[str]:
    """Judged as a client does that has been given what is published, by what the server shows to its next one."""
    # Only where it is asked for: cryptography is a good part of a second run's time.
    from pgberth.database import certificate

    address, name = str(context.listening["address"]), str(context.listening["host"])
    if context.listening.get("ca") and not context.root.strip():
        yield "what clients are to trust is missing"
        return
    try:
        client = ssl.create_default_context(cadata=context.root or None)
        found = shown(context.address, client, name)
    except ssl.SSLCertVerificationError as error:
        yield f"a client that checks it hangs up: {error.verify_message}"
        return
    except (OSError, ValueError) as error:
        yield f"it shows no certificate that can be checked: {error}"
        return
    if why := certificate.fault(found, Listen(address, name), certificate.utc(), days=_DAYS):
        yield f"the certificate it shows {why}"
    yield from (f"what clients trust {why}" for why in certificate.ending(context.root, certificate.utc(), _DAYS))


CHECKS = (
    Check("tls-only", "nobody is let in without TLS", _only, beyond_loopback=True),
    Check("tls-certificate", "clients take the certificate it shows, and it lasts", _certificate, beyond_loopback=True),
)
