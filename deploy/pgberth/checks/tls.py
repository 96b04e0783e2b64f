"""A server that listens beyond loopback: nobody gets in without TLS, and clients can tell that it is this one."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import psycopg

from pgberth.checks.subject import Check, Subject
from pgberth.model import layout
from pgberth.model.listen import Listen

_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)  # SSLRequest, as the protocol has it
_SECONDS = 6
# Our own are renewed a month before their end by any deploy: two weeks are what nobody ran one in.
_DAYS = 14
# pg_hba.conf's own answer, or the server's where no line is for sessions of that kind.
_NO_TLS = ("no encryption", "SSL off")


def _only(subject: Subject) -> Iterator[str]:
    try:
        subject.connect(subject.login, subject.password, sslmode="disable").close()
    except psycopg.OperationalError as error:
        if not any(words in str(error) for words in _NO_TLS):
            yield f"{subject.login} without TLS was refused for another reason: {error}"
    else:
        yield f"{subject.login} was let in without TLS"


def _certificate(subject: Subject) -> Iterator[str]:
    """What the server shows to the next client, whatever lies in its files."""
    # Only where it is asked for: cryptography is a good part of a second run's time.
    from pgberth.database import certificate

    listen = Listen(str(subject.listening["address"]), str(subject.listening["host"]))
    try:
        shown = _shown(subject.address)
    except OSError as error:
        yield f"it shows no certificate: {error}"
        return
    if why := certificate.fault(shown, listen, certificate.utc(), days=_DAYS):
        yield f"the certificate it shows {why}"
    if subject.listening.get("ca") and "tls/ca.crt" not in subject.state.files:
        yield f"~/{layout.ca_file(subject.tenant.name)}, which clients trust, is missing"


def _shown(address: tuple[str, int]) -> str:
    """The server's certificate in PEM. Raises OSError where it has none to show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is looked at, not trusted
    with socket.create_connection(address, _SECONDS) as line:
        line.sendall(_REQUEST)
        if line.recv(1) != b"S":
            raise OSError("it does not speak TLS")
        with context.wrap_socket(line) as session:
            shown = session.getpeercert(binary_form=True)
            with suppress(OSError):
                session.unwrap()
    return ssl.DER_cert_to_PEM_cert(shown or b"")


CHECKS = (
    Check("tls-only", "nobody is let in without TLS", _only, beyond_loopback=True),
    Check(
        "tls-certificate",
        "the certificate it shows is for where it listens, and lasts",
        _certificate,
        beyond_loopback=True,
    ),
)
