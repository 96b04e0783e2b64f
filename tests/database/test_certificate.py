"""Certificates: what is made does, and what does not do is told why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pgberth.database import certificate
from pgberth.model.listen import Listen

NOW = datetime.now(UTC)
HERE = Listen("10.0.0.5", "db1.example")


@cache
def authority() -> str:
    return certificate.authority("acme", NOW)


def issued(listen: Listen = HERE, *, days_ago: int = 0) -> str:
    return certificate.issued(listen, authority(), NOW - timedelta(days=days_ago))


def key(text: str) -> str:
    return text[text.index("-----BEGIN PRIVATE") :]


@pytest.mark.parametrize("listen", [HERE, Listen("10.0.0.5"), Listen("10.0.0.5", "a" * 63 + ".example")])
def test_what_our_authority_issues_does(listen: Listen) -> None:
    made = issued(listen)
    asked = {"days": certificate.RENEWED_DAYS, "authority": certificate.first(authority())}
    assert certificate.fault(made, listen, NOW, **asked) is None  # type: ignore[arg-type]
    assert certificate.key_fault(key(made), made) is None


def test_the_authority_is_known_by_its_certificate_alone() -> None:
    assert "PRIVATE" in authority()
    assert "PRIVATE" not in certificate.first(authority())


FAULTS: dict[str, tuple[Callable[[], str], str]] = {
    "nothing": (lambda: "", "is not a certificate in PEM"),
    "a key": (lambda: key(issued()), "is not a certificate in PEM"),
    "one cut short": (lambda: issued()[:300], "is not a certificate in PEM"),
    "one that ran out": (lambda: issued(days_ago=400), "ran out on "),
    "one that runs out": (lambda: issued(days_ago=370), "runs out on "),
    "one of tomorrow": (lambda: issued(days_ago=-3), "is not valid before "),
    "one for another address": (lambda: issued(Listen("10.0.0.6")), "is not for db1.example"),
    "one for another name": (lambda: issued(Listen("10.0.0.5", "db2.example")), "is not for db1.example"),
    "another authority's": (
        lambda: certificate.issued(HERE, certificate.authority("acme", NOW), NOW),
        "is another authority's",
    ),
    "an authority's own": (authority, "is not for db1.example"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_one_that_does_not_do_is_told_why(what: str) -> None:
    made, says = FAULTS[what]
    told = certificate.fault(made(), HERE, NOW, days=certificate.RENEWED_DAYS, authority=certificate.first(authority()))
    assert told is not None
    assert told.startswith(says)


LENGTHS = [
    (397, 60, False),
    (397, 6, True),
    (90, 20, False),
    (90, 6, True),
    (6, 6, False),
    (6, 1, False),
    (6, 0.2, True),
]


@pytest.mark.parametrize(("life", "left", "soon"), LENGTHS)
def test_soon_is_a_share_of_the_certificates_own_life(life: float, left: float, soon: bool) -> None:
    made = lasting(life)
    told = list(certificate.ending(made, NOW + timedelta(days=life - left)))
    assert bool(told) is soon, told
    assert all(line.startswith("runs out on ") for line in told)
    assert [line[:11] for line in certificate.ending(made, NOW + timedelta(days=life + 1))] == ["ran out on "]


def lasting(days: float) -> str:
    """A certificate of that length, from now on."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db1.example")])
    own = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key())
    made = made.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=days))
    return made.sign(own, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_wildcard_stands_for_one_name() -> None:
    made = issued(Listen("10.0.0.5", "*.example"))
    assert certificate.fault(made, HERE, NOW, days=0) is None
    assert certificate.fault(made, Listen("10.0.0.5", "x.db1.example"), NOW, days=0) == "is not for x.db1.example"


def under_command_lock() -> str:
    form = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"open sesame")
    made = ec.generate_private_key(ec.SECP256R1()).private_bytes(serialization.Encoding.PEM, *form)
    return made.decode()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: "", "is not a private key in PEM"),
        (lambda: certificate.first(authority()), "is not a private key in PEM"),
        (under_command_lock, "has a passphrase, which nobody is there to give"),
        (lambda: key(issued()), "is another certificate's"),
    ],
)
def test_a_key_that_does_not_do_is_told_why(made: Callable[[], str], says: str) -> None:
    assert certificate.key_fault(made(), issued()) == says


@pytest.mark.parametrize(
    "signer", ["", "-----BEGIN CERTIFICATE-----\n", certificate.first(certificate.authority("x", NOW))]
)
def test_an_authority_that_is_not_understood_is_not_made_anew(signer: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        certificate.issued(HERE, signer, NOW)
