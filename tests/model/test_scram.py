"""SCRAM verifiers: the RFC's example, and what a real server makes of the same password."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from pgberth.model import scram
from pgberth.model.secret import Secret
from tests.postgres import Server

# RFC 7677, section 3: user "user", password "pencil".
RFC_SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
RFC_CLIENT_FIRST = "n=user,r=rOprNGfwEbeRWgbNEkqO"
RFC_SERVER_FIRST = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
RFC_CLIENT_FINAL = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
RFC_PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
RFC_SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
RFC_MESSAGE = ",".join((RFC_CLIENT_FIRST, RFC_SERVER_FIRST, RFC_CLIENT_FINAL)).encode()

ODD_PASSWORDS = ["x", "pencil", "it's", 'do"uble', "back\\slash", "$1 $$ %s :x", "{{ 7 * 7 }}", " spaces ", "A" * 200]


def keys(verifier: Secret) -> tuple[bytes, bytes]:
    """(stored key, server key) of a verifier."""
    stored, server = verifier.reveal().split("$")[2].split(":")
    return base64.b64decode(stored), base64.b64decode(server)


def test_the_verifier_of_the_rfcs_example_proves_the_rfcs_client_and_server() -> None:
    made = scram.verifier(Secret("pencil"), base64.b64decode(RFC_SALT), 4096)
    assert made.reveal().startswith(f"SCRAM-SHA-256$4096:{RFC_SALT}$")
    stored, server = keys(made)
    assert base64.b64encode(hmac.digest(server, RFC_MESSAGE, "sha256")).decode() == RFC_SERVER_SIGNATURE
    # The server takes the client's key out of its proof, and compares the key's hash with the stored one.
    signature = hmac.digest(stored, RFC_MESSAGE, "sha256")
    client_key = bytes(a ^ b for a, b in zip(base64.b64decode(RFC_PROOF), signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored


def test_every_verifier_has_a_salt_of_its_own() -> None:
    assert scram.verifier(Secret("pencil")) != scram.verifier(Secret("pencil"))


@pytest.fixture(scope="module")
def admin(postgres18: Server) -> Iterator[psycopg.Connection]:
    with postgres18.connect() as session:
        session.execute("CREATE ROLE scram_test LOGIN")
        yield session
        session.execute("DROP ROLE scram_test")


def stored_by(session: psycopg.Connection) -> str:
    row = session.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_test'").fetchone()
    assert row is not None
    return str(row[0])


def set_password(session: psycopg.Connection, text: str) -> None:
    session.execute(sql.SQL("ALTER ROLE scram_test PASSWORD {}").format(sql.Literal(text)))


@pytest.mark.parametrize("password", ODD_PASSWORDS)
def test_the_servers_own_verifier_is_recomputed_byte_for_byte(admin: psycopg.Connection, password: str) -> None:
    set_password(admin, password)
    stored = stored_by(admin)
    iterations, salt = stored.split("$")[1].split(":")
    assert scram.verifier(Secret(password), base64.b64decode(salt), int(iterations)).reveal() == stored
    assert int(iterations) == scram.ITERATIONS


@pytest.mark.parametrize("password", ODD_PASSWORDS)
def test_the_server_takes_our_verifier_as_it_is_and_lets_the_password_in(
    admin: psycopg.Connection, postgres18: Server, password: str
) -> None:
    made = scram.verifier(Secret(password))
    set_password(admin, made.reveal())
    assert stored_by(admin) == made.reveal()
    way = {"host": "127.0.0.1", "port": postgres18.port, "user": "scram_test", "dbname": "postgres"}
    psycopg.connect(**way, password=password).close()  # type: ignore[arg-type]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**way, password=password + "x")  # type: ignore[arg-type]


def test_a_password_is_recognised_by_salt_iterations_and_digest_alone() -> None:
    salt = bytes(range(16))
    told = (base64.b64encode(salt).decode(), 4096, scram.digest(scram.verifier(Secret("pencil"), salt)))
    assert scram.matches(Secret("pencil"), *told)
    assert not scram.matches(Secret("Pencil"), *told)
    assert not scram.matches(Secret("pencil"), base64.b64encode(bytes(16)).decode(), *told[1:])
    assert not scram.matches(Secret("pencil"), told[0], 4097, told[2])


def test_a_verifiers_digest_does_not_hold_the_verifier() -> None:
    made = scram.verifier(Secret("pencil"))
    assert len(scram.digest(made)) == 64
    assert not any(part in scram.digest(made) for part in made.reveal().split("$") if len(part) > 4)
