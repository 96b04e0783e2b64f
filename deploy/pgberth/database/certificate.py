"""Certificates of servers that listen beyond loopback: made, and judged. Text in, text out; all of it PEM."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgberth.model.listen import Listen

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397  # the most that clients elsewhere take for granted
RENEWED_DAYS = 30  # before its end
# The share of its life that is left when a certificate ends soon: four weeks of the 397 days of one of ours, which any
# deploy renews before; half a day of six.
SOON = 1 / 14
_CLOCKS = timedelta(days=1)  # by which a client's clock may be behind


def authority(tenant: str, now: datetime) -> str:
    """A new certificate authority for one tenant: its certificate, then its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"pgberth {tenant}")])
    made = _of(name, name, key.public_key(), now, AUTHORITY_DAYS)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = made.add_extension(_usage(signs=True), critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _text(made.sign(key, hashes.SHA256())) + _secret(key)


def issued(listen: Listen, signer: str, now: datetime) -> str:
    """
    A new certificate for the server, then its key.

    + signer: the authority's certificate and key

    Raises ValueError where that is not understood.
    """
    by, key = x509.load_pem_x509_certificate(signer.encode()), ec.generate_private_key(ec.SECP256R1())
    theirs = serialization.load_pem_private_key(signer.encode(), None)
    if not isinstance(theirs, ec.EllipticCurvePrivateKey):
        raise ValueError("its key is none of ours")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, listen.host[:64])])
    made = _of(name, by.subject, key.public_key(), now, SERVER_DAYS)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(_usage(signs=False), critical=True)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    made = made.add_extension(x509.SubjectAlternativeName(_names(listen)), critical=False)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(theirs.public_key())
    made = made.add_extension(known, critical=False)
    return _text(made.sign(theirs, hashes.SHA256())) + _secret(key)


def fault(text: str, listen: Listen, now: datetime, *, days: float, authority: str = "") -> str | None:
    """
    Why the first certificate in the text does not do for this address, in words that follow its name; None if it does.

    + days: that it must still last
    + authority: the certificate that must have signed it, where one is asked for
    """
    try:
        found = x509.load_pem_x509_certificate(text.encode())
        signer = x509.load_pem_x509_certificate(authority.encode()) if authority else None
    except ValueError:
        return "is not a certificate in PEM"
    end = found.not_valid_after_utc
    if end < now:
        return f"ran out on {end:%Y-%m-%d}"
    if end < now + timedelta(days=days):
        return f"runs out on {end:%Y-%m-%d}"
    if found.not_valid_before_utc > now:
        return f"is not valid before {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if not _covers(found, listen.host):
        return f"is not for {listen.host}"
    try:
        if signer is not None:
            found.verify_directly_issued_by(signer)
    except (InvalidSignature, ValueError, TypeError):
        return "is another authority's"
    return None


def key_fault(text: str, certificate: str) -> str | None:
    """Why this key does not do for the certificate, which is one; None where it does."""
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except TypeError:
        return "has a passphrase, which nobody is there to give"
    except ValueError:
        return "is not a private key in PEM"
    public = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return None if key.public_key().public_bytes(*form) == public.public_bytes(*form) else "is another certificate's"


def refused_by_a_client(listen: Listen, trusted: str) -> str | None:
    """
    Why a client would reject a server with this external certificate; None where it would accept it.

    + trusted: what the client has been given; "" for what its system has, which is not this machine's to judge

    A whole handshake, in memory, since a chain may lack a part, or be for another purpose.
    """
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(listen.certificate, listen.key, password=lambda: "")
        if not trusted:
            return None
        asking = ssl.create_default_context(cadata=trusted)
        client = asking.wrap_bio(back, there, server_hostname=listen.host)
        sides = (client, serving.wrap_bio(there, back, server_side=True))
        for side in sides * 2:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLCertVerificationError as error:
        return f"would not be taken by a client: {error.verify_message}"
    except ssl.SSLError as error:
        return f"cannot be loaded: {error.reason or error}"
    return None


def ending(text: str, now: datetime) -> Iterator[str]:
    """
    Of the certificates in the text those that end soon by their own length, in words that follow their name.

    One that has ended is among them.
    """
    for found in x509.load_pem_x509_certificates(text.encode()) if text.strip() else ():
        end = found.not_valid_after_utc
        if end - now < (end - found.not_valid_before_utc) * SOON:
            yield f"{'ran' if end < now else 'runs'} out on {end:%Y-%m-%d %H:%M} UTC"


def certificates(text: str) -> str:
    """All certificates in the text, and nothing else of it. Raises ValueError where there is none."""
    return "".join(map(_text, x509.load_pem_x509_certificates(text.encode())))


def first(text: str) -> str:
    """The first certificate in the text, without a key. Raises ValueError where there is none."""
    return _text(x509.load_pem_x509_certificate(text.encode()))


def _covers(found: x509.Certificate, host: str) -> bool:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    told = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    below = host.partition(".")[2]  # libpq lets a * stand for one name, at the left
    return host in told or (bool(below) and f"*.{below}" in told) or host in map(str, addresses)


def _names(listen: Listen) -> list[x509.GeneralName]:
    address: list[x509.GeneralName] = [x509.IPAddress(ipaddress.IPv4Address(listen.address))]
    return [x509.DNSName(listen.name), *address] if listen.name else address


def _of(
    name: x509.Name, signer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().subject_name(name).issuer_name(signer).public_key(key)
    made = made.serial_number(x509.random_serial_number())
    return made.not_valid_before(now - _CLOCKS).not_valid_after(now + timedelta(days=days))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _secret(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, *form).decode()


def utc() -> datetime:
    return datetime.now(UTC)
