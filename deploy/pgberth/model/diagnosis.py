"""
Why a server does not do what was asked, judged by its own answer: the cause, and the runbook page that fits.

A cause is recognised by its SQLSTATE, or by the words of the server, which always speaks English here: its locale is C.
A login that is refused, and psql, give no SQLSTATE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pgberth.model.problems import Problem, visible
from pgberth.model.sessions import BLOCKS_WRITERS, Activity

_NOBODY = Activity()


@dataclass(frozen=True)
class Cause:
    """
    One reason, and what leads out of it.

    + means: what it means, in a few words
    + states: SQLSTATEs that say so
    + words: a regular expression for the server's message
    + act: the next safe act, "" where the page alone says it
    """

    name: str
    means: str
    states: frozenset[str]
    words: str
    page: str
    act: str = ""

    @property
    def hint(self) -> str:
        return f"{self.act}; {self.page}" if self.act else self.page


LOCK = Cause(
    "lock",
    "another session's lock blocks it",
    frozenset({"55P03"}),
    # What --lock-wait-timeout of pg_dump limits is the statement.
    r"lock timeout|could not obtain lock|is being migrated by|statement timeout\s+pg_dump: detail: Query was: LOCK",
    "runbooks/table-is-locked.md",
)
NO_CONNECTION = Cause(
    "no connection",
    "its server has no free connection",
    frozenset({"53300"}),
    r"too many clients|too many connections for|remaining connection slots",
    "runbooks/no-free-connection.md",
)
NO_LOCK_MEMORY = Cause(
    "no lock memory",
    "its server has no memory left for locks",
    frozenset({"53200"}),
    r"out of shared memory",
    "runbooks/no-free-connection.md",
)
DISK_FULL = Cause(
    "disk full",
    "its disk is full",
    frozenset({"53100"}),
    r"No space left on device|Disk quota exceeded|could not extend file",
    "runbooks/disk-nearly-full.md",
    "free some space",
)
DISK_FAILS = Cause(
    "disk fails",
    "its disk does not read or write",
    frozenset({"58030", "XX001", "XX002"}),
    r"Input/output error|Read-only file system|invalid page in block|could not (read|write|fsync|open) (block|file)",
    "runbooks/disk-fails.md",
    "deploy nothing",
)
STARTING = Cause(
    "starting",
    "its server is starting, stopping or in recovery",
    frozenset({"57P01", "57P02", "57P03"}),
    r"starting up|shutting down|in recovery mode|not yet accepting|administrator command|another server process",
    "runbooks/server-is-starting.md",
    "wait a minute, and run it again",
)
CLOSED = Cause(
    "closed",
    "its database lets nobody in",
    frozenset(),
    r"cannot connect to invalid database|is not currently accepting connections",
    "runbooks/database-is-closed.md",
    "deploy nothing",
)
RIGHTS = Cause(
    "rights",
    "an owner or a right is not the wanted one",
    frozenset({"42501"}),
    r"permission denied for|must be owner|is owned by .*, wanted",
    "runbooks/owner-is-wrong.md",
)
UNREACHABLE = Cause(
    "unreachable",
    "nobody can reach its port",
    frozenset({"08001", "08006"}),
    r"Connection refused|timeout expired|closed the connection unexpectedly|Connection reset",
    "runbooks/port-is-dead.md",
)
# What an observation shows, in our own words.
NEWER_SCHEMA = Cause(
    "newer schema",
    "its schema is newer than this release",
    frozenset(),
    r"is applied, these files end at",
    "runbooks/schema-is-newer.md",
)
ANOTHERS_DATA = Cause(
    "another's data",
    "its volume holds another cluster than its marker says",
    frozenset(),
    r"was initialised for another|has no marker|has the marker of generation|holds the cluster",
    "runbooks/foreign-volume.md",
)
UNKNOWN = Cause("unknown", "its server does not answer", frozenset(), r"", "runbooks/server-does-not-start.md")

# In this order: a full disk can also be a file that cannot be written.
CAUSES = (
    *(LOCK, NO_CONNECTION, NO_LOCK_MEMORY, DISK_FULL, DISK_FAILS, STARTING, CLOSED, RIGHTS, UNREACHABLE),
    *(NEWER_SCHEMA, ANOTHERS_DATA),
)


def diagnose(said: str, sqlstate: str | None = None) -> Cause:
    """
    The cause that an answer shows; UNKNOWN where it shows none.

    + said: the server's message, or what psql or libpq printed
    + sqlstate: where it is known
    """
    by_state = (cause for cause in CAUSES if sqlstate in cause.states)
    by_words = (cause for cause in CAUSES if re.search(cause.words, said, re.IGNORECASE))
    return next(by_state, None) or next(by_words, UNKNOWN)


def pages(lines: Iterable[str]) -> tuple[str, ...]:
    """The pages that fit these lines, without doubles; none for lines that show no known cause."""
    causes = dict.fromkeys(diagnose(line) for line in lines)
    return tuple(cause.page for cause in causes if cause is not UNKNOWN)


def own_words(said: str) -> str:
    """
    The server's own words of what psql or libpq printed, on one line.

    Its HINT is left out: what PostgreSQL advises for an invalid database is to drop it.
    """
    lines = [line for line in said.splitlines() if not re.match(r"\s*(HINT|LINE \d+|CONTEXT):", line)]
    spoken = [match[2] for line in lines if (match := re.search(r"\b(PANIC|FATAL|ERROR): +(.*)", line))]
    details = [line.partition("DETAIL:")[2].strip() for line in lines if "DETAIL:" in line]
    words = [*spoken[:1], *details[:1]] if spoken else [line.strip() for line in lines if line.strip()]
    return visible(": ".join(words), one_line=True)


def culprits(cause: Cause, activity: Activity) -> list[str]:
    """Who is behind it, of the sessions that were seen; nothing where none is."""
    if cause is LOCK:
        return activity.holders(BLOCKS_WRITERS)
    if cause is NO_CONNECTION:
        return activity.full()
    return activity.most_locks() if cause is NO_LOCK_MEMORY else []


def explained(said: str, sqlstate: str | None = None, activity: Activity = _NOBODY) -> str:
    """The server's own words, and who is behind them."""
    return "; ".join([own_words(said), *culprits(diagnose(said, sqlstate), activity)])


def problem(tenant: str, said: str, sqlstate: str | None = None, activity: Activity = _NOBODY) -> Problem:
    """What a tenant's server said, as a problem with its cause, its culprits and its page."""
    cause = diagnose(said, sqlstate)
    return Problem(f"{tenant}: {cause.means}: {explained(said, sqlstate, activity)}", cause.hint)
