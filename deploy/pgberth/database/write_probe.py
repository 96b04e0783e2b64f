"""
A client that commits rows during an interruption, and then checks that the server kept every acknowledged row.

It writes over TCP, one row at a time, as any client does, and only to a table of its own in the schema pgberth_probe.
`stop` drops both; if the run was killed, the next run drops them with `CLEAR`.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from pgberth.database.session import connect
from pgberth.model.roles import DATABASE, MIGRATOR, OWNER
from pgberth.model.secret import Secret

SCHEMA = "pgberth_probe"
PAUSE = 0.005  # seconds between two writes, and between two logins that fail
LOGIN_SECONDS = 2  # for one login: libpq's minimum

# The owner's, so that neither the app's sessions nor its rights are needed.
_OPTIONS = f"-crole={OWNER} -csearch_path=pg_catalog,pg_temp -cstatement_timeout=5s"
_DROP = f"DROP TABLE IF EXISTS {SCHEMA}.write RESTRICT; DROP SCHEMA IF EXISTS {SCHEMA} RESTRICT"
_MAKE = f"{_DROP}; CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.write (number bigint CONSTRAINT write_pk PRIMARY KEY)"
_WRITE = f"INSERT INTO {SCHEMA}.write (number) VALUES (%s)".encode()  # noqa: S608  (no value in it)

# What a killed run left, as access.verify.sql.j2 names it, and the psql script of the superuser that drops it.
LEFTOVER = f"schema {SCHEMA}"
CLEAR = f"\\connect {DATABASE}\nSET search_path = pg_catalog, pg_temp;\n{_DROP};\n"

Address = tuple[str, int]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class WriteReport:
    """
    The result.

    + acknowledged: writes that the server confirmed; lost: those of them that are missing
    + gap_ms: the longest time between two acknowledged writes, in milliseconds
    """

    acknowledged: int
    lost: int
    gap_ms: int

    def __str__(self) -> str:
        return f"gap {self.gap_ms} ms, {self.lost} lost of {self.acknowledged} acknowledged writes"


class WriteProbe:
    """
    + addresses: where the server may listen; when one does not answer, the next is tried
    """

    def __init__(self, password: Secret | None, *addresses: Address):
        self._password = password
        self._addresses = addresses
        self._acknowledged: list[int] = []
        self._last = self._gap = 0.0
        self._tries = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start writing. Raises psycopg.Error where it cannot."""
        with self._connect() as session:
            session.execute(_MAKE.encode())
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def wait_for_write(self) -> bool:
        """Whether one more write succeeds within a few seconds: only then is the gap over."""
        deadline, desired = time.monotonic() + 5, len(self._acknowledged) + 1
        while len(self._acknowledged) < desired and time.monotonic() < deadline:
            time.sleep(PAUSE)
        return len(self._acknowledged) >= desired

    def stop(self) -> WriteReport:
        """Stop writing, check every acknowledged write, drop the table. Raises psycopg.Error where it cannot check."""
        self.wait_for_write()
        self._end()
        with self._connect() as session:
            found = {number for (number,) in session.execute(f"SELECT number FROM {SCHEMA}.write".encode())}  # noqa: S608
            session.execute(_DROP.encode())
        return WriteReport(len(self._acknowledged), len(set(self._acknowledged) - found), round(self._gap * 1000))

    def give_up(self) -> None:
        """Stop writing and drop the table; where that fails, the next run's CLEAR drops it."""
        self._end()
        with suppress(psycopg.Error), self._connect() as session:
            session.execute(_DROP.encode())

    def _end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(10 * LOGIN_SECONDS)

    def _write(self) -> None:
        session: Connection | None = None
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                session = session or self._connect()
                session.execute(_WRITE, [number])
            except psycopg.Error:
                # It is unknown whether this row was committed: it does not count, and its number is not used again.
                _close(session)
                session = None
                self._tries += 1
            else:
                now = time.monotonic()
                self._gap, self._last = max(self._gap, now - self._last), now
                self._acknowledged.append(number)
            time.sleep(PAUSE)
        _close(session)

    def _connect(self) -> Connection:
        address = self._addresses[self._tries % len(self._addresses)]
        return connect(
            address,
            MIGRATOR,
            self._password,
            options=_OPTIONS,
            application_name=SCHEMA,  # by it access.verify.sql.j2 tells a probe in use from a leftover
            connect_timeout=LOGIN_SECONDS,
            tcp_user_timeout=5000,
        )


def _close(session: Connection | None) -> None:
    if session is not None:
        session.close()
