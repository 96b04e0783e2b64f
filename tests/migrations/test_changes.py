"""Down, rehearsal and erasure as verbs: what they send, in which order, what they refuse, and what they tell."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pyinfra.api import FunctionCommand
from pyinfra.context import ctx_host

from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.database import session
from pgberth.migrations import changes, operations, runner
from pgberth.migrations.changes import rehearsal_lines
from pgberth.migrations.drift import Difference
from pgberth.migrations.erase import Erasure
from pgberth.migrations.rehearse import DROP_SCRIPT, SCRATCH, SCRATCH_SCRIPT, Rehearsal, Rehearsed, TableLock
from pgberth.migrations.source import load
from pgberth.model import layout
from pgberth.model.tenant import Tenant
from pgberth.report.receipt import Receipt
from tests.contract.components import migrator
from tests.fake_host import FakeHost, Sent, sent, stored
from tests.fake_podman import FakePrograms
from tests.migrations.test_rehearse import shell
from tests.migrations.tree import dump
from tests.postgres import Database
from tests.sample import ABSENT, ACME, IMAGE, ledger, server, state

STARTED, STAMP = datetime(2026, 8, 1, 12, tzinfo=UTC), "20260801T120000Z"
ALL = replace(ACME, components={"control_plane": "head", "memory_plugin": "head", "knowledge": "head"})
NODE = UUID("0d3f5b1a-5e0c-4e0b-9c3c-0123456789ab")
UNREACHABLE = {
    "could not be asked": (None, "its machine is not ready for tenants"),
    "no container": (state(**ABSENT), "it has no container"),
    "no answer": (
        state(answer=None, server_error="starting up"),
        "its server is starting, stopping or in recovery: starting up",
    ),
}


def host_of(found: TenantState | None) -> FakeHost:
    return FakeHost(facts={TenantObservation: lambda **_: found}, answers=[stored(["migrator-v1"])])


def applied(tenant: Tenant) -> TenantState:
    """The tenant with all of its components at head."""
    return state(tenant, answer=server(tenant, ledger=ledger(tenant)))


def context_of(tenant: Tenant) -> TenantContext:
    receipt = Receipt("migrate", tenant.name, tenant.rings, tenant.port, STARTED)
    return TenantContext(tenant, "SELECT 1", receipt=receipt)


def do(operation: Callable[..., Any], found: TenantState | None, tenant: Tenant, **arguments: Any) -> list[Any]:
    return sent(operation, host_of(found), context=context_of(tenant), **arguments)


@contextlib.contextmanager
def on(host: FakeHost) -> Iterator[FakeHost]:
    """As inside an operation of that host."""
    before = ctx_host.get()
    ctx_host.set(host)
    try:
        yield host
    finally:
        ctx_host.set(before)


# --- a rehearsal, printed


def test_a_rehearsal_without_steps_says_that_there_is_nothing_to_do() -> None:
    assert rehearsal_lines(Rehearsal("knowledge", (), (), ())) == ["knowledge: nothing to do"]


def test_a_rehearsal_tells_each_steps_sql_and_locks_in_order_and_then_the_changes() -> None:
    first, second = load("memory_plugin").versions
    change = Difference("index", "memory_plugin.i", "", None, "present")
    other = Difference("column", "memory_plugin.t.c", "default", None, "now()")
    locks = (TableLock("memory_plugin.t", "ShareLock"), TableLock("public.u", "AccessExclusiveLock"))
    lines = rehearsal_lines(
        Rehearsal("memory_plugin", (Rehearsed(first, ()), Rehearsed(second, locks)), (change, other), ())
    )
    expected = [
        "memory_plugin 0000_schema_bootstrap would run:",
        *first.up.splitlines(),
        "memory_plugin 0001_memory_v2 would run:",
        *second.up.splitlines(),
        "memory_plugin 0001_memory_v2 would lock memory_plugin.t in ShareLock",
        "memory_plugin 0001_memory_v2 would lock public.u in AccessExclusiveLock",
        "memory_plugin: adds index memory_plugin.i",
        "memory_plugin: changes default of column memory_plugin.t.c from none to now()",
    ]
    assert lines == expected
    assert not any("\n" in line for line in lines)


# --- a server that does not answer, a history that differs


@pytest.mark.parametrize("why", UNREACHABLE)
@pytest.mark.parametrize("operation", [changes.reverted, changes.rehearsed], ids=["down", "rehearse"])
def test_where_the_server_does_not_answer_nothing_is_sent(operation: Callable[..., Any], why: str) -> None:
    found, fact = UNREACHABLE[why]
    (refused,) = do(operation, found, replace(ACME, components={"memory_plugin": 0}))
    assert refused.refusal.startswith(f"acme: {fact}\nHINT: ")


def test_down_over_an_edited_history_is_refused_before_the_dump() -> None:
    heads = [row | {"rendered_sha256": "0" * 64} if row["version"] == "0001" else row for row in ledger(ACME)]
    found = state(answer=server(ledger=heads))
    (refused,) = do(changes.reverted, found, replace(ACME, components={"memory_plugin": 0}))
    assert refused.refusal.startswith("acme: memory_plugin 0001_memory_v2 was edited after it was applied")


# --- down


@pytest.mark.parametrize("target", ["head", 1])
def test_at_or_below_its_target_nothing_is_taken_down(target: str | int) -> None:
    tenant = replace(ACME, components={"memory_plugin": target})
    assert do(changes.reverted, applied(tenant), tenant) == []


def test_a_component_above_its_target_is_dumped_first_and_then_taken_down() -> None:
    tenant = replace(ACME, components={"memory_plugin": 0})
    context = context_of(tenant)
    copied, down = sent(changes.reverted, host_of(applied(tenant)), context=context)
    assert copied.under_command_lock
    assert copied.stdin == ""
    place = f"{layout.directory('acme')}/dumps"
    assert copied.arguments == ["acme", IMAGE.bindir, place, f"{STAMP}-before-down.dump"]
    assert isinstance(down, FunctionCommand)
    assert down.function is operations._run_as_migrator
    assert context.changed


def test_the_components_above_their_targets_go_down_last_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = replace(
        ALL, components={"knowledge": 0, "control_plane": 0, "memory_plugin": "head"}, parameters={"knowledge": {}}
    )
    _, down = do(changes.reverted, applied(tenant), tenant)
    gone: list[tuple[str, object]] = []
    monkeypatch.setattr(runner, "revert", lambda _, component, to, __: gone.append((component, to)))
    context, work = down.args
    work(None)
    order = [component for component in reversed(context.tenant.ordered_components) if component != "memory_plugin"]
    assert gone == [(component, 0) for component in order]


@pytest.fixture
def machine(tmp_path: Path) -> FakePrograms:
    return FakePrograms(tmp_path)


def dumped(machine: FakePrograms) -> tuple[int, list[Path]]:
    """The dump's script run on a machine that only pretends: its exit code, and the files that it left."""
    tenant = replace(ACME, components={"memory_plugin": 0})
    copied, _ = do(changes.reverted, applied(tenant), tenant)
    done = machine.run(copied.script, *copied.arguments)
    return done.returncode, sorted((machine.home / layout.directory("acme") / "dumps").iterdir())


def test_a_dump_that_can_be_read_to_its_end_is_kept_for_its_owner_only(machine: FakePrograms) -> None:
    machine.answer("podman", ("*pg_dump*", "PGDMP", 0), ("*pg_restore*", "", 0))
    code, (kept,) = dumped(machine)
    assert code == 0
    assert kept.name == f"{STAMP}-before-down.dump"
    assert kept.read_text() == "PGDMP\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    writing, reading = machine.asked()
    assert writing[:5] == ["exec", "-i", "acme", f"{IMAGE.bindir}/pg_dump", "--lock-wait-timeout=10s"]
    assert reading == ["exec", "-i", "acme", f"{IMAGE.bindir}/pg_restore", "-f", "/dev/null"]


@pytest.mark.parametrize("program", ["pg_dump", "pg_restore"])
def test_a_dump_that_fails_or_cannot_be_read_stops_the_way_down_and_leaves_nothing(
    machine: FakePrograms, program: str
) -> None:
    machine.answer("podman", (f"*{program}*", "PGDMP and TABLE DATA", 1))
    code, kept = dumped(machine)
    assert code != 0
    assert kept == []


# --- rehearsal


def test_each_component_is_rehearsed_on_a_copy_of_its_own_and_the_last_copy_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rehearsed: list[object] = []
    monkeypatch.setattr(changes, "_rehearse", lambda *arguments: rehearsed.append(arguments))
    context = TenantContext(ALL, "SELECT 1")
    made = sent(changes.rehearsed, host_of(applied(ALL)), context=context)
    done: list[object] = []
    for command in made:
        if isinstance(command, Sent):
            done.append(command.stdin)
        else:
            assert carried_out(command, FakeHost())
            done.append(rehearsed.pop())
    copies = [[SCRATCH_SCRIPT, (context, component)] for component in ALL.ordered_components]
    assert done == [*(part for copy in copies for part in copy), DROP_SCRIPT]
    assert all(command.under_command_lock for command in made if isinstance(command, Sent))
    assert context.changed is False


def test_the_copy_is_made_by_the_images_own_clients_beside_the_server(machine: FakePrograms) -> None:
    made = do(changes.rehearsed, applied(ACME), ACME)
    machine.answer("podman", ("exec*", "", 0))
    assert machine.run(made[0].script, *made[0].arguments, stdin=made[0].stdin).returncode == 0
    (asked,) = machine.asked()
    path = f"PATH={IMAGE.bindir}:/usr/bin:/bin"
    socket = ["--env", "PGHOST=/run/postgresql", "--env", "PGUSER=postgres"]
    assert asked == ["exec", "-i", "--env", path, *socket, "acme", "/bin/sh", "-s"]


@pytest.fixture
def reaching(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The tenant's port leads to a real server, its database to this test's."""

    def connect(_: object, user: str, __: object = None, *, database: str = "memory") -> Any:
        name = reached_database if database == "memory" else database
        return server_of.connect(user, name)

    server_of, reached_database = database.server, database.name
    for room in (changes, session):
        monkeypatch.setattr(room, "reached", lambda _: contextlib.nullcontext(("127.0.0.1", 0)))
        monkeypatch.setattr(room, "connect", connect)
    yield database
    shell(database.server, DROP_SCRIPT)


def carried_out(command: FunctionCommand, host: FakeHost) -> bool:
    with on(host):
        return bool(command.function(None, host, *command.args))


def test_a_rehearsal_is_printed_line_by_line_and_the_live_database_stays(
    reaching: Database, caplog: pytest.LogCaptureFixture
) -> None:
    at = host_of(applied(ACME))
    before = dump(reaching)
    (_, tell, _) = sent(changes.rehearsed, at, context=TenantContext(ACME, "SELECT 1"))
    shell(reaching.server, SCRATCH_SCRIPT, reaching.name)
    with caplog.at_level("INFO", logger="pyinfra"):
        assert carried_out(tell, at)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "memory_plugin 0000_schema_bootstrap would run:"
    assert "memory_plugin: adds table memory_plugin.memory_records" in lines
    assert dump(reaching) == before
    assert SCRATCH not in str(lines)


def test_a_rehearsal_that_is_refused_fails_the_tenant_in_its_own_words(
    reaching: Database, caplog: pytest.LogCaptureFixture
) -> None:
    at = host_of(applied(ACME))
    (_, tell, _) = sent(changes.rehearsed, at, context=TenantContext(ACME, "SELECT 1"))
    with caplog.at_level("ERROR", logger="pyinfra"):
        assert not carried_out(tell, at)  # there is no copy
    (record,) = caplog.records
    assert record.getMessage().startswith("acme: the server refused: ")
    assert record.exc_info is None


# --- erasure


def test_an_erasure_from_a_tenant_without_the_component_is_refused() -> None:
    erasure = Erasure("knowledge_node", NODE, "gone")
    (refused,) = do(changes.erased, applied(ACME), ACME, erasure=erasure)
    assert refused.refusal == (
        f"acme: it has no component 'knowledge', so nothing of knowledge_node:{NODE}\nHINT: is it the right tenant?"
    )


def test_an_erasure_is_printed_by_table_and_never_by_content(reaching: Database) -> None:
    runner.apply(migrator(reaching), "knowledge")
    superuser = reaching.connect("postgres")
    superuser.execute("INSERT INTO knowledge.knowledge_nodes (id, content) VALUES (%s, 'private')", [NODE])
    at, context = host_of(applied(ALL)), TenantContext(ALL, "SELECT 1")
    (command,) = sent(changes.erased, at, context=context, erasure=Erasure("knowledge_node", NODE, "gone"))
    assert context.changed
    assert carried_out(command, at)
    counts = "0 of scheduling, 0 of edges, 0 of review_events, 1 of knowledge_nodes"
    assert at.said == [f"acme: erased knowledge_node:{NODE}: {counts}"]
    assert superuser.execute("SELECT count(*) FROM knowledge.knowledge_nodes").fetchone() == (0,)


def test_an_erasure_that_is_refused_fails_the_tenant_in_its_own_words(
    reaching: Database, caplog: pytest.LogCaptureFixture
) -> None:
    runner.apply(migrator(reaching), "knowledge")
    at = host_of(applied(ALL))
    (command,) = sent(
        changes.erased, at, context=TenantContext(ALL, "SELECT 1"), erasure=Erasure("knowledge_node", NODE, "gone")
    )
    with caplog.at_level("ERROR", logger="pyinfra"):
        assert not carried_out(command, at)
    (record,) = caplog.records
    expected = f"acme: knowledge has nothing of knowledge_node:{NODE}\nHINT: nothing was changed"
    assert record.getMessage() == expected
    assert at.said == []
