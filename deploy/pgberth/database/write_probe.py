"""
A live client that writes through an interruption, and knows afterwards what it was promised.

Its table is its own, in a schema of its own: real rows, committed one by one over TCP as any client's are, and no row
of the tenant's is touched. Both are gone at the end; what a killed run leaves is found by `CLEAR` in the next.
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
PAUSE = 0.005  # seconds between two writes, and between two tries to get in
PATIENCE = 2  # seconds for one login: libpq's least

# The owner's, so that neither the app's sessions nor its rights are needed.
_OPTIONS = f"-crole={OWNER} -csearch_path=pg_catalog,pg_temp -cstatement_timeout=5s"
_DROP = f"DROP TABLE IF EXISTS {SCHEMA}.write RESTRICT; DROP SCHEMA IF EXISTS {SCHEMA} RESTRICT"
_MAKE = f"{_DROP}; CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.write (number bigint CONSTRAINT write_pk PRIMARY KEY)"
_WRITE = f"INSERT INTO {SCHEMA}.write (number) VALUES (%s)".encode()  # noqa: S608  (no value in it)

# How the look at a server names what a killed run left; and what takes it away, for psql as the superuser.
LEFTOVER = f"schema {SCHEMA}"
CLEAR = f"\\connect {DATABASE}\nSET search_path = pg_catalog, pg_temp;\n{_DROP};\n"

Address = tuple[str, int]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class WriteReport:
    """
    What came of it.

    + acknowledged: writes that the server confirmed; lost: those of them that are not there
    + gap_ms: the longest time between two of them, in milliseconds
    """

    acknowledged: int
    lost: int
    gap_ms: int

    def __str__(self) -> str:
        return f"gap {self.gap_ms} ms, {self.lost} lost of {self.acknowledged} acknowledged writes"


class WriteProbe:
    """
    + addresses: where the server may be found; the next is tried where one does not answer
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
        """Begin to write. Raises psycopg.Error where it cannot."""
        with self._connect() as session:
            session.execute(_MAKE.encode())
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def wait_for_write(self) -> bool:
        """Whether one more write gets through, within a few seconds: only then has a gap its end."""
        deadline, desired = time.monotonic() + 5, len(self._acknowledged) + 1
        while len(self._acknowledged) < desired and time.monotonic() < deadline:
            time.sleep(PAUSE)
        return len(self._acknowledged) >= desired

    def stop(self) -> WriteReport:
        """Stop writing, look for every acknowledged write, leave nothing. Raises psycopg.Error where it cannot look."""
        self.wait_for_write()
        self._end()
        with self._connect() as session:
            found = {number for (number,) in session.execute(f"SELECT number FROM {SCHEMA}.write".encode())}  # noqa: S608
            session.execute(_DROP.encode())
        return WriteReport(len(self._acknowledged), len(set(self._acknowledged) - found), round(self._gap * 1000))

    def give_up(self) -> None:
        """Stop writing; what is left in the server goes with the next run's CLEAR, where it does not go now."""
        self._end()
        with suppress(psycopg.Error), self._connect() as session:
            session.execute(_DROP.encode())

    def _end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(10 * PATIENCE)

    def _write(self) -> None:
        session: Connection | None = None
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                session = session or self._connect()
                session.execute(_WRITE, [number])
            except psycopg.Error:
                # Whether that one was committed is not known: it counts for neither side, and its number is not reused.
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
            connect_timeout=PATIENCE,
            tcp_user_timeout=5000,
        )


def _close(session: Connection | None) -> None:
    if session is not None:
        session.close()
