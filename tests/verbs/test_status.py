"""What `status` sees of a tenant without writing anything: all that an observation shows and verify would call red."""

from __future__ import annotations

import pytest

from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.report.receipt import Receipt
from pgberth.verbs import status
from tests.fake_host import FakeHost, sent, stored
from tests.sample import ACME, container, ledger, server, spec_file, state


def shown(found: TenantState) -> list[str]:
    """What status prints of a tenant, in order. Nobody listens at its port."""
    into = Receipt("status", "acme", ("canary",), 5501)
    host = FakeHost(facts={TenantObservation: lambda **_: found}, answers=[stored(["app-v1"])])
    assert sent(status.state_known, host, context=TenantContext(ACME, receipt=into)) == []
    red = [f"RED {result.id}: {problem}" for result in into.failed_checks for problem in result.problems]
    return [note for note in into.notes if "not enforced" not in note] + red


SESSION = {
    "pid": 170,
    "role": "memory_app_a",
    "client": "10.0.2.100",
    "application": "worker",
    "state": "idle in transaction",
    "since": "2026-11-21 14:02:13+00",
    "seconds": 900.0,
    "statement": "LOCK TABLE memory_records",
    "locks": [{"mode": "AccessExclusiveLock", "object": "memory_plugin.memory_records"}],
    "held": 2,
    "blocks": 0,
}
WHO = "pid 170 (memory_app_a, application worker, from 10.0.2.100, idle in transaction since 2026-11-21 14:02:13+00)"
NEWER = {**ledger()[1], "version": "0099", "name": "later"}
FULL = {"name": "memory_app_a", "role": "memory_app_a", "used": 15, "limit": 15}
SEEN: dict[str, tuple[TenantState, str]] = {
    "a recycle that was interrupted": (
        state(files={"recycling.json": "00"}),
        "a recycle was interrupted; the next deploy ends it",
    ),
    "a rotation that is not over": (
        state(spec={**spec_file(), "former_login": "memory_app_b"}),
        "a rotation is not over: memory_app_b can still log in; deploy/rotate.py ends it; runbooks/rotate-passwords.md",
    ),
    "a disk without room": (
        state(free_kib=1024),
        "1 MiB free for /home/pgberth, 2048 needed; runbooks/disk-nearly-full.md",
    ),
    "another container than its spec file's": (
        state(spec={**spec_file(), "hash": "f00"}),
        "its spec file says f00",
    ),
    "a table that somebody keeps locked": (
        state(answer=server(sessions=[SESSION])),
        f"another session's lock blocks it: {WHO} holds AccessExclusiveLock on memory_plugin.memory_records:"
        " LOCK TABLE memory_records; runbooks/table-is-locked.md",
    ),
    "no connection that is free": (
        state(answer=server(slots=[FULL], sessions=[SESSION | {"pid": pid, "locks": []} for pid in range(15)])),
        "its server has no free connection: 15 of 15 connections of memory_app_a are used:"
        " 15 by memory_app_a (application worker, from 10.0.2.100); runbooks/no-free-connection.md",
    ),
    "a server in recovery": (state(answer=server(in_recovery=True)), "the server is in recovery; "),
    "a port that is dead": (
        state(container=container(unreachable="its monitor, conmon, is dead")),
        "its container runs, and nobody can reach port 5501: its monitor, conmon, is dead; "
        "run deploy/provision.py --limit acme, which creates the container again on its volume;"
        " runbooks/port-is-dead.md",
    ),
    "a schema newer than the release": (
        state(answer=server(ledger=[*ledger(), NEWER])),
        "RED ledger: memory_plugin 0099_later is applied, these files end at 0001",
    ),
    "another's cluster": (
        state(answer=server(system_identifier="7")),
        "RED volume-identity: its volume holds the cluster",
    ),
    "another's marker": (
        state(marker={"tenant": "globex"}),
        "RED volume-identity: its volume was initialised for another",
    ),
    "a table of another owner": (
        state(
            answer=server(
                findings=[
                    {
                        "component": "memory_plugin",
                        "version": "0001",
                        "kind": "table",
                        "object": "memory_plugin.memory_records",
                        "problem": "is owned by postgres, wanted memory_owner",
                    }
                ]
            )
        ),
        "RED schema: memory_plugin 0001: table memory_plugin.memory_records is owned by postgres, wanted memory_owner",
    ),
    "definitions that cannot be read": (
        state(answer=server(unread="canceling statement due to lock timeout", sessions=[SESSION])),
        f"RED schema: could not be asked: canceling statement due to lock timeout; {WHO} holds AccessExclusiveLock",
    ),
}


@pytest.mark.parametrize("what", SEEN)
def test_status_sees_what_verify_would_call_red_without_asking_the_server_more(what: str) -> None:
    found, says = SEEN[what]
    assert [line for line in shown(found) if says in line], shown(found)
    assert [line for line in shown(state()) if says in line] == []
