"""What a server says shows its cause, in its own words, with the culprit and the page that fits."""

from __future__ import annotations

import pytest

from pgberth.model import diagnosis
from pgberth.model.diagnosis import Cause
from pgberth.model.sessions import Activity, ServerSession, Slots

# As PostgreSQL, libpq and psql print them.
_SOCKET = 'psql: error: connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: FATAL:  '
_TCP = 'connection failed: connection to server at "127.0.0.1", port 5501 failed: '
SAID: dict[str, Cause] = {
    "psql:<stdin>:9: ERROR:  canceling statement due to lock timeout": diagnosis.LOCK,
    "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n"
    "pg_dump: detail: Query was: LOCK TABLE memory_plugin.memory_records IN ACCESS SHARE MODE": diagnosis.LOCK,
    "ERROR:  canceling statement due to statement timeout": diagnosis.UNKNOWN,
    'ERROR:  could not obtain lock on relation "memory_records"': diagnosis.LOCK,
    f"{_SOCKET}sorry, too many clients already": diagnosis.NO_CONNECTION,
    f'{_TCP}FATAL:  too many connections for role "memory_app_a"': diagnosis.NO_CONNECTION,
    f'{_TCP}FATAL:  too many connections for database "memory"': diagnosis.NO_CONNECTION,
    f"{_TCP}FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute": (
        diagnosis.NO_CONNECTION
    ),
    f"{_SOCKET}out of shared memory\nHINT:  You might need to increase max_locks_per_transaction.": (
        diagnosis.NO_LOCK_MEMORY
    ),
    'ERROR:  could not extend file "base/5/16402": No space left on device\nHINT:  Check free disk space.': (
        diagnosis.DISK_FULL
    ),
    'PANIC:  could not write to file "pg_wal/xlogtemp.71": No space left on device': diagnosis.DISK_FULL,
    "ERROR:  could not write block 7 of temporary file: Disk quota exceeded": diagnosis.DISK_FULL,
    'ERROR:  could not read blocks 0..0 in file "base/5/16402": Input/output error': diagnosis.DISK_FAILS,
    'ERROR:  invalid page in block 3 of relation "base/5/16402"': diagnosis.DISK_FAILS,
    'PANIC:  could not open file "global/pg_control": Read-only file system': diagnosis.DISK_FAILS,
    f"{_SOCKET}the database system is starting up": diagnosis.STARTING,
    f"{_SOCKET}the database system is shutting down": diagnosis.STARTING,
    f"{_SOCKET}the database system is in recovery mode": diagnosis.STARTING,
    f"{_SOCKET}the database system is not yet accepting connections\nDETAIL:  Consistent recovery state has not been"
    " yet reached.": diagnosis.STARTING,
    "FATAL:  terminating connection due to administrator command": diagnosis.STARTING,
    f'{_SOCKET}cannot connect to invalid database "memory"\nHINT:  Use DROP DATABASE to drop invalid databases.': (
        diagnosis.CLOSED
    ),
    f'{_SOCKET}database "memory" is not currently accepting connections': diagnosis.CLOSED,
    "ERROR:  permission denied for schema memory_ledger": diagnosis.RIGHTS,
    "ERROR:  must be owner of table memory_records": diagnosis.RIGHTS,
    "memory_plugin 0001: table memory_plugin.x is owned by postgres, wanted memory_owner": diagnosis.RIGHTS,
    f"{_TCP}Connection refused": diagnosis.UNREACHABLE,
    f"{_TCP}server closed the connection unexpectedly": diagnosis.UNREACHABLE,
    "connection timeout expired": diagnosis.UNREACHABLE,
    "memory_plugin 0099_later is applied, these files end at 0001": diagnosis.NEWER_SCHEMA,
    'its volume was initialised for another: {"tenant": "globex"}': diagnosis.ANOTHERS_DATA,
    'ERROR:  column "x" does not exist': diagnosis.UNKNOWN,
    f'{_SOCKET}role "memory_monitor" does not exist': diagnosis.UNKNOWN,
    "": diagnosis.UNKNOWN,
}


@pytest.mark.parametrize("said", SAID)
def test_a_cause_is_recognised_by_the_servers_words(said: str) -> None:
    assert diagnosis.diagnose(said) is SAID[said]


@pytest.mark.parametrize("cause", diagnosis.CAUSES, ids=lambda cause: cause.name)
def test_a_cause_is_recognised_by_its_sqlstate_whatever_the_words(cause: Cause) -> None:
    for state in cause.states:
        assert diagnosis.diagnose("in any language", state) is cause


def test_every_cause_has_a_page_of_its_own_and_only_two_share_one() -> None:
    pages = [cause.page for cause in diagnosis.CAUSES]
    assert len(set(pages)) == len(pages) - 1
    assert diagnosis.NO_CONNECTION.page == diagnosis.NO_LOCK_MEMORY.page
    assert diagnosis.UNKNOWN.page not in pages  # it is the only one whose page leads to stopping a container


@pytest.mark.parametrize("said", SAID)
def test_the_servers_own_advice_and_psqls_wrapping_are_left_out(said: str) -> None:
    words = diagnosis.own_words(said)
    assert "psql" not in words
    assert "HINT" not in words
    assert "DROP" not in words
    assert "\n" not in words


def test_a_detail_stays_with_the_words() -> None:
    said = 'ERROR:  cannot drop\nDETAIL:  view "x" depends on it\nHINT:  Use CASCADE.'
    assert diagnosis.own_words(said) == 'cannot drop: view "x" depends on it'


def test_what_others_wrote_cannot_control_a_terminal() -> None:
    mine = session(1, application="\x1b[2Jgone\nacme: all is well")
    (line,) = Activity((mine,)).holders({"AccessExclusiveLock"})
    assert "\x1b" not in line
    assert "\n" not in line


def session(pid: int, **changes: object) -> ServerSession:
    lock = {"mode": "AccessExclusiveLock", "object": "memory_plugin.memory_records"}
    body: dict[str, object] = {
        "pid": pid,
        "role": "memory_app_a",
        "client": "10.0.2.100",
        "application": "worker",
        "state": "idle in transaction",
        "since": "2026-11-21 14:02:13+00",
        "seconds": 90.0,
        "statement": "LOCK TABLE memory_records",
        "locks": [lock],
        "held": 3,
        "blocks": 0,
    }
    return ServerSession.parse({**body, **changes})


def test_the_holder_is_named_with_pid_role_application_address_and_since_when() -> None:
    problem = diagnosis.problem(
        "acme", "ERROR:  canceling statement due to lock timeout", activity=Activity((session(170),))
    )
    assert problem.fact == (
        "acme: another session's lock blocks it: canceling statement due to lock timeout; pid 170 (memory_app_a,"
        " application worker, from 10.0.2.100, idle in transaction since 2026-11-21 14:02:13+00) holds"
        " AccessExclusiveLock on memory_plugin.memory_records: LOCK TABLE memory_records"
    )
    assert problem.hint == "runbooks/table-is-locked.md"


def test_a_lock_that_blocks_nobody_who_writes_is_not_blamed() -> None:
    reader = session(1, locks=[{"mode": "AccessShareLock", "object": "memory_plugin.memory_records"}])
    assert diagnosis.culprits(diagnosis.LOCK, Activity((reader,))) == []
    waited_for = session(2, locks=[], blocks=3)
    assert "holds what 3 others wait for" in diagnosis.culprits(diagnosis.LOCK, Activity((reader, waited_for)))[0]


def test_only_locks_of_the_schema_count_where_one_is_given() -> None:
    found = Activity((session(1),))
    assert found.holders({"AccessExclusiveLock"}, schema="memory_plugin") != []
    assert found.holders({"AccessExclusiveLock"}, schema="knowledge") == []
    assert found.holders({"AccessExclusiveLock"}, seconds=91) == []


def test_the_session_with_the_most_locks_is_named_where_there_is_no_room_for_more() -> None:
    found = Activity((session(1, held=3), session(2, held=5000)))
    (line,) = diagnosis.culprits(diagnosis.NO_LOCK_MEMORY, found)
    assert line.startswith("pid 2 (")
    assert line.endswith(" holds 5000 locks")
    assert diagnosis.culprits(diagnosis.NO_LOCK_MEMORY, Activity()) == []


def test_connections_that_are_not_used_up_are_not_mentioned() -> None:
    slots = Slots("memory_app_a", "memory_app_a", 14, 15), Slots("the server", "", 97, 97)
    (line,) = Activity((session(1), session(2, role="", application="")), slots).full()
    assert line == (
        "97 of 97 connections of the server are used: 1 by memory_app_a (application worker, from 10.0.2.100);"
        " 1 by no role yet (application without a name, from 10.0.2.100)"
    )
