"""
Sessions with a tenant's server over loopback, as one of its roles.

A session depends on what is written here alone. libpq would fill every gap from the operator's environment and home,
and the server from what a role has set for itself, as every role may.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from pyinfra import host

from pgberth.connectors.tunnel import loopback
from pgberth.model.roles import DATABASE
from pgberth.model.secret import Secret

CONNECT_TIMEOUT = 10  # seconds
PLACE_SECONDS = 11.0  # for a place: twice authentication_timeout and a little
# The server's own words. Without memory for locks it lets nobody in, until the transaction that holds them all is over.
_NO_PLACE = ("sorry, too many clients already", "remaining connection slots are reserved", "out of shared memory")
ROLE_IS_FULL = "too many connections for role"

_NOWHERE = "/dev/null/none"  # no file can be there
_STATED: Mapping[str, Any] = {
    "passfile": _NOWHERE,
    "sslmode": "prefer",  # TLS where the server has it; the smoke suite verifies its certificate
    "sslcertmode": "disable",
    "sslrootcert": _NOWHERE,
    "gssencmode": "disable",
    "channel_binding": "prefer",
    "require_auth": "scram-sha-256",  # another process on the server's port could ask for the password in clear
    "target_session_attrs": "any",
    "client_encoding": "UTF8",
    "application_name": "pgberth",
    "connect_timeout": CONNECT_TIMEOUT,
}
# What decides how the server reads a statement, and how it writes its answer.
_FORMS = " ".join(
    f"-c{name}={value}"
    for name, value in {
        "quote_all_identifiers": "off",
        "standard_conforming_strings": "on",
        "bytea_output": "hex",
        "datestyle": "ISO,MDY",
        "intervalstyle": "postgres",
        "extra_float_digits": "1",
        "timezone": "UTC",
    }.items()
)
_VARIABLE = re.compile(r"PG(?!BERTH_)[A-Z_]+")


def connect(
    address: tuple[str, int], user: str, password: Secret | None, *, database: str = DATABASE, **parameters: Any
) -> psycopg.Connection[Any]:
    """
    A session in autocommit mode. Where connections that never log in hold all places, it waits until they are ended.

    + password: None sends none, and keeps libpq from finding one elsewhere

    Raises psycopg.OperationalError where the server refuses or is not there.
    """
    remove_libpq_variables()
    deadline = time.monotonic() + PLACE_SECONDS
    while True:
        try:
            return _connect(address, user, password, database, parameters)
        except psycopg.OperationalError as error:
            if not any(words in str(error) for words in _NO_PLACE) or time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def _connect(
    address: tuple[str, int], user: str, password: Secret | None, database: str, parameters: Mapping[str, Any]
) -> psycopg.Connection[Any]:
    options = f"{_FORMS} {parameters.get('options', '')}".strip()
    return psycopg.connect(
        host=address[0],
        port=address[1],
        user=user,
        dbname=database,
        password=password.reveal() if password is not None else "",
        autocommit=True,
        **{**_STATED, **parameters, "options": options},
    )


def prove_login(address: tuple[str, int], user: str, password: Secret | None, **parameters: Any) -> None:
    """
    Prove that this password logs in, by one login and one question.

    The server says that all connections of a role are in use only after it accepted the password: that is a proof, too.
    Raises psycopg.Error otherwise.
    """
    try:
        with connect(address, user, password, **parameters) as session:
            session.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if ROLE_IS_FULL not in str(error):
            raise


def remove_libpq_variables() -> None:
    """
    Remove every variable of libpq from this process.

    Some of them, such as PGSERVICE, PGTZ and PGDATESTYLE, cannot be overridden by a parameter of a session.
    """
    for name in [name for name in os.environ if _VARIABLE.fullmatch(name)]:
        del os.environ[name]


@contextmanager
def within(seconds: float, sessions: Callable[[], Iterable[psycopg.Connection[Any]]]) -> Iterator[Callable[[], bool]]:
    """
    Work that ends when time is up, even where a server neither answers nor hangs up.

    Then the sessions are disconnected, so that a caller that waits for one of them gets psycopg.OperationalError. The
    value says whether that happened. The server's own time limits do not help: a stopped process keeps none of them.
    """
    over, done = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        over.set()
        # Again and again: a session that was still being opened comes later than the end of the time.
        while not done.is_set():
            for session in list(sessions()):
                _hang_up(session)
            done.wait(0.2)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield over.is_set
    finally:
        done.set()
        watcher.join()


def _hang_up(session: psycopg.Connection[Any]) -> None:
    # Not close(): it would wait for a call that is in progress.
    with suppress(OSError, psycopg.OperationalError), socket.socket(fileno=os.dup(session.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


@contextmanager
def reached(port: int) -> Iterator[tuple[str, int]]:
    """An address at which the current host's loopback port answers here."""
    with loopback(host, port) as address:
        yield address
