"""The sessions of a tenant's server, and which of them stand in the way of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pgberth.model.problems import visible

# PostgreSQL's table of conflicting lock modes, the part that concerns those who read or write rows.
BLOCKS_READERS = frozenset({"AccessExclusiveLock"})
BLOCKS_WRITERS = BLOCKS_READERS | {"ExclusiveLock", "ShareRowExclusiveLock", "ShareLock"}
# What a migration waits for, since most of them need a table for themselves.
BLOCKS_ALL = BLOCKS_WRITERS | {"ShareUpdateExclusiveLock", "RowExclusiveLock", "RowShareLock", "AccessShareLock"}
_SHOWN = 5  # sessions, or groups of them, in one line


@dataclass(frozen=True)
class HeldLock:
    """+ mode: as in pg_locks; object: a qualified table, or "advisory lock 1/2" """

    mode: str
    object: str

    def __str__(self) -> str:
        return f"{self.mode} on {self.object}"


@dataclass(frozen=True)
class ServerSession:
    """
    A session of somebody else, as pg_stat_activity has it.

    + client: its address as the server sees it, "" on the socket
    + since: when its transaction began, or the session where it has none
    + seconds: since then
    + statement: the first words of its newest one, up to the first constant
    + locks: on the tenant's tables, and the runner's; at most 20
    + held: how many locks it holds in all
    + blocks: how many sessions wait for it at this moment
    """

    pid: int
    role: str
    client: str
    application: str
    state: str
    since: str
    seconds: float
    statement: str
    locks: tuple[HeldLock, ...] = ()
    held: int = 0
    blocks: int = 0

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> ServerSession:
        """From an object of sessions.sql. Raises KeyError or TypeError for any other."""
        return cls(**{**body, "locks": tuple(HeldLock(**lock) for lock in body["locks"])})

    def holds(self, modes: Collection[str]) -> tuple[HeldLock, ...]:
        """Its locks of these modes, advisory ones included."""
        return tuple(lock for lock in self.locks if lock.mode in modes)

    def __str__(self) -> str:
        place = f"from {self.client}" if self.client else "on the socket"
        who = f"{self.role or 'no role yet'}, application {self.application or 'without a name'}, {place}"
        return visible(f"pid {self.pid} ({who}, {self.state} since {self.since})", one_line=True)


@dataclass(frozen=True)
class Slots:
    """
    The connections that somebody may have.

    + name: of a role, or "the server", or "database x"
    + role: the role that alone uses them, "" for everybody
    """

    name: str
    role: str
    used: int
    limit: int

    @property
    def full(self) -> bool:
        return self.used >= self.limit

    def __str__(self) -> str:
        return f"{self.used} of {self.limit} connections of {self.name} are used"


@dataclass(frozen=True)
class Activity:
    """
    Who is connected to a server, and how many may be.

    + sessions: of everybody but the one who asked
    """

    sessions: tuple[ServerSession, ...] = ()
    slots: tuple[Slots, ...] = ()

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Activity:
        """From the probe's answer, or from a part of it that may lack both. Raises KeyError or TypeError."""
        sessions = tuple(map(ServerSession.parse, body.get("sessions", ())))
        return cls(sessions, tuple(Slots(**row) for row in body.get("slots", ())))

    def holders(self, modes: Collection[str], *, schema: str = "", seconds: float = 0) -> list[str]:
        """
        Each session that blocks others, with its locks.

        + modes: of the locks that block
        + schema: only locks on its tables; a session that somebody waits for is named in any case
        + seconds: since its transaction began, at least
        """
        lines = []
        for session in self.sessions:
            held = [lock for lock in session.holds(modes) if lock.object.startswith(f"{schema}." if schema else "")]
            if (held or session.blocks) and session.seconds >= seconds:
                what = ", ".join(map(str, held[:_SHOWN])) or f"what {session.blocks} others wait for"
                lines.append(visible(f"{session} holds {what}: {session.statement}", one_line=True))
        return lines

    def full(self) -> list[str]:
        """The connections of which none is free, and who uses them."""
        return [f"{slots}: {self._occupants(slots.role)}" for slots in self.slots if slots.full]

    def _occupants(self, role: str) -> str:
        """The largest groups of equal role, application and address. + role: "" for all"""
        groups = Counter(
            (session.role or "no role yet", session.application or "without a name", session.client)
            for session in self.sessions
            if role in ("", session.role)
        )
        named = (
            f"{count} by {name} (application {application}, {f'from {client}' if client else 'on the socket'})"
            for (name, application, client), count in groups.most_common(_SHOWN)
        )
        return visible("; ".join(named), one_line=True)

    def most_locks(self) -> list[str]:
        """The session with the most locks."""
        most = max(self.sessions, key=lambda session: session.held, default=None)
        return [f"{most} holds {most.held} locks"] if most is not None else []
