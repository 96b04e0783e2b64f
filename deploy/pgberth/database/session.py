"""Sessions with a tenant's server over loopback, as one of its roles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from pyinfra import host

from pgberth.database.tunnel import loopback
from pgberth.model.roles import DATABASE
from pgberth.model.secret import Secret

CONNECT_TIMEOUT = 10  # seconds


def connect(
    address: tuple[str, int], user: str, password: Secret | None, *, database: str = DATABASE, **parameters: Any
) -> psycopg.Connection[Any]:
    """
    A session in autocommit mode.

    + password: None sends none, and keeps libpq from finding one elsewhere

    Raises psycopg.OperationalError where the server refuses or is not there.
    """
    return psycopg.connect(
        host=address[0],
        port=address[1],
        user=user,
        dbname=database,
        password=password.reveal() if password is not None else "",
        passfile="/dev/null/none",
        connect_timeout=CONNECT_TIMEOUT,
        application_name="pgberth",
        autocommit=True,
        # Whoever sits on the port in the server's place could ask for the password in clear.
        **{"require_auth": "scram-sha-256", **parameters},
    )


@contextmanager
def reached(port: int) -> Iterator[tuple[str, int]]:
    """An address at which the current host's loopback port answers here."""
    with loopback(host, port) as address:
        yield address
