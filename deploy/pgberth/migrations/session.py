"""The runner's session: its settings, its lock, how often it retries, and whom it names when it gives up."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from pgberth.migrations.ledger import Connection
from pgberth.model.problems import Refused
from pgberth.rendering.sql import read_sql

Connect = Callable[[], Connection]
Returned = TypeVar("Returned")

LOCK_CLASS = 0x7067_6272  # "pgbr": the first half of each advisory lock's key; the second is the checksum of its name
BOOTSTRAP = "memory_ledger"

RETRYABLE = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)


@dataclass(frozen=True)
class RetryPolicy:
    """
    How long the runner waits for others.

    + lock_seconds: for another runner on the same component
    + table_lock_ms: for one table lock; short, because later sessions queue behind the one that waits
    + attempts: how often a step is tried when it conflicts with another session
    + pause_seconds: mean pause before the second attempt; it doubles with each
    """

    lock_seconds: float = 60.0
    table_lock_ms: int = 3000
    attempts: int = 6
    pause_seconds: float = 0.25


class _Shared:
    """A Connect that returns the same session each time, and opens a new one only if that has died."""

    def __init__(self, connect: Connect):
        self._connect = connect
        self._connection: Connection | None = None

    def __call__(self) -> Connection:
        if self._connection is None or self._connection.info.transaction_status != TransactionStatus.IDLE:
            self.close()  # dead, or interrupted in the middle of a transaction
            self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@contextmanager
def shared(connect: Connect) -> Iterator[Connect]:
    """
    The same session for several runs in a row, closed at the end.

    This halves the time for a tenant's components: a new session must read the catalogue again.
    """
    one = _Shared(connect)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def opened(connect: Connect, application: str) -> Iterator[Connection]:
    """
    A session set up for DDL, closed at the end unless it is shared.

    + connect: opens a new session that may become memory_owner
    + application: shown to those who wait for the session

    It does not work through a pooler in transaction mode: the lock belongs to the session.
    """
    connection = connect()
    try:
        connection.autocommit = True
        _configure(connection, application)
        yield connection
    finally:
        if not isinstance(connect, _Shared):
            connection.close()


def _configure(connection: Connection, application: str) -> None:
    connection.execute(read_sql("migrations/configure-session.sql"), [application])


def become_owner(connection: Connection) -> None:
    """Act as memory_owner, so that it owns what is created. Raises Refused if this login may not."""
    try:
        connection.execute("SET ROLE memory_owner")
    except (errors.InsufficientPrivilege, errors.InvalidParameterValue) as wrong:
        fact = f"{connection.info.user} cannot act as memory_owner: {wrong.diag.message_primary}"
        raise Refused.because(fact, "Run provision first: it makes the roles.") from wrong


@contextmanager
def locked(connection: Connection, name: str, retry: RetryPolicy) -> Iterator[None]:
    """
    Hold this database's lock of that name. Raises Refused, naming the holder, after `retry.lock_seconds`.

    Only a runner can hold it: the app may not call the function that takes it (access.sql). 0.1.0 takes the same lock.

    It polls: a session that waits for an advisory lock holds a snapshot, CREATE INDEX CONCURRENTLY waits for that
    snapshot, and the server ends one of the two as a deadlock.
    """
    key = _key(name)
    _poll(connection, key, name, retry)
    try:
        yield
    finally:
        try:
            connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s, %s)", key)
        except psycopg.Error:
            connection.close()  # this frees it too, and the error that came before is the one to report


def _key(name: str) -> tuple[int, int]:
    checksum = zlib.crc32(name.encode())
    return LOCK_CLASS, checksum - (checksum >> 31 << 32)  # as a signed 32-bit integer


def _poll(connection: Connection, key: tuple[int, int], name: str, retry: RetryPolicy) -> None:
    deadline = time.monotonic() + retry.lock_seconds
    pause = 0.02
    while not _taken(connection, key):
        if time.monotonic() >= deadline:
            raise _busy(connection, key, name, retry)
        time.sleep(_jitter(pause))
        pause = min(pause * 1.5, 0.5)


def _taken(connection: Connection, key: tuple[int, int]) -> bool:
    row = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s, %s)", key).fetchone()
    return bool(row and row[0])


def _busy(connection: Connection, key: tuple[int, int], name: str, retry: RetryPolicy) -> Refused:
    connection.execute("RESET ROLE")  # this login may see when its other sessions began; the owner role may not
    query = read_sql("migrations/advisory-lock-holders.sql")
    holders = connection.execute(query, [key[0], key[1] % 2**32]).fetchall()
    who = "; ".join(f"pid {pid} ({application}), since {since}" for pid, application, since in holders)
    return Refused.because(
        f"{name} is being migrated by {who or 'a run that has just finished'}; waited {retry.lock_seconds:g} s",
        "Wait until it ends, and run again. If it is stuck: SELECT pg_terminate_backend(pid).",
    )


def retried(connection: Connection, component: str, work: Callable[[], Returned], retry: RetryPolicy) -> Returned:
    """
    Do `work` again when it lost a lock to other sessions, with growing pauses.

    + work: leaves nothing behind when it raises

    Raises Refused after the last attempt, naming the sessions that hold locks on the component's tables.
    """
    pause = retry.pause_seconds
    for _ in range(retry.attempts - 1):
        try:
            return work()
        except RETRYABLE:
            time.sleep(_jitter(pause))
            pause *= 2
    try:
        return work()
    except RETRYABLE as wrong:
        raise _blocked(connection, component, wrong, retry) from wrong


def _blocked(connection: Connection, component: str, wrong: psycopg.Error, retry: RetryPolicy) -> Refused:
    holders = connection.execute(read_sql("migrations/table-lock-holders.sql"), [component]).fetchall()
    who = "; ".join(f"pid {pid} {user} ({app}) holds {mode} on {table}" for pid, user, app, table, mode in holders)
    return Refused.because(
        f"{component}: {wrong.diag.message_primary}, {retry.attempts} times; {who or 'no session holds a lock now'}",
        "Nothing was changed. End that transaction, or run again when the tables are used less.",
    )


def _jitter(mean: float) -> float:
    return mean * random.uniform(0.5, 1.5)  # noqa: S311 - spreads retries; nothing is kept secret by it
