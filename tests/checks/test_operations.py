"""The suite as an operation: it passes silently, fails with one line a problem, and its record is kept."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pgberth.checks import operations, pending
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.migrations import baseline
from pgberth.migrations.drift import Trait
from pgberth.migrations.session import _key as session_key
from pgberth.model import layout
from pgberth.model.roles import FRESH
from pgberth.model.tenant import Tenant
from pgberth.report.receipt import Receipt, Result
from tests.checks.conftest import HBA, LIVE, Live
from tests.fake_host import CANARY, Answer, FakeHost, Sent, on, sent, stored
from tests.fake_podman import FakePrograms
from tests.sample import ABSENT, ACME, READY, container, files, ledger, server, settings, spec_file, spec_of, state

STARTED = datetime(2026, 11, 21, 14, 5, 6, tzinfo=UTC)
SECRETS = stored(spec_file()["secrets"].values())


def receipt(**changes: Any) -> Receipt:
    return replace(Receipt("provision", "acme", ("canary",), 5501, STARTED), **changes)


KEEPING = "-gt 50"  # the script that keeps a receipt


def smoke(
    found: TenantState | None,
    into: Receipt,
    tenant: Tenant = ACME,
    *,
    keep: Answer = Answer(),  # noqa: B008 - frozen
    asked: list[Sent] | None = None,
    drift: bool = False,
) -> list[Sent]:
    host = FakeHost(
        facts={TenantObservation: lambda **_: found},
        answers=[SECRETS, (KEEPING, keep)],
        asked=[] if asked is None else asked,
    )
    # The live server reads another pg_hba.conf than a tenant's: the tests log in over the socket.
    with mock.patch.object(operations, "reload_files", return_value={"pg_hba.conf": HBA}):
        return sent(operations.smoke, host, context=TenantContext(tenant, receipt=into), drift=drift)


def alive(live: Live) -> tuple[TenantState, Tenant]:
    """The live tenant under the port at which it really listens."""
    context = live.context()
    spec = context.state.spec.updated({"port": live.cluster.port})
    published = files(replace(LIVE, port=live.cluster.port))
    return replace(context.state, spec=spec, files=published), LIVE


def test_a_healthy_tenant_is_no_change_and_its_receipt_says_what_was_proven(live: Live) -> None:
    into = receipt()
    found, tenant = alive(live)
    assert smoke(found, into, tenant) == []
    assert into.results is not None
    assert all(result.passed for result in into.results)
    assert into.finished is not None
    assert set(into.versions) == {"postgres", "pgvector", *LIVE.components}
    assert into.versions["memory_plugin"] == "0001"
    assert into.image == READY.images[LIVE.image.tag].id.removeprefix("sha256:")[:12]


def test_an_unhealthy_tenant_fails_with_one_line_a_problem_and_a_hint(live: Live) -> None:
    live.sql("CREATE TABLE public.stray (a int); CREATE TABLE public.other (a int)")
    into = receipt()
    found, tenant = alive(live)
    (refused,) = smoke(found, into, tenant)
    *problems, hint = refused.refusal.splitlines()
    assert [line.split(" does")[0] for line in sorted(problems)] == [
        "acme: public-clean: unexpected object public.other",
        "acme: public-clean: unexpected object public.stray",
    ]
    assert hint.startswith("HINT: 1 of ")
    assert hint.endswith("checks are red; runbooks/check-is-red.md")
    assert [result.id for result in into.failed_checks] == ["public-clean"]


def test_a_run_whose_checks_are_red_keeps_its_receipt_which_says_so(live: Live) -> None:
    live.sql("CREATE TABLE public.stray (a int)")
    into, asked = receipt(), list[Sent]()
    found, tenant = alive(live)
    smoke(found, into, tenant, asked=asked)
    keep = asked[-1]
    assert keep.under_command_lock
    assert keep.arguments == [layout.receipts("acme"), "20261121T140506Z-provision.json"]
    told = json.loads(keep.stdin)
    assert told["changed"] is False
    red = {check: said for check, said in told["checks"].items() if said != "passed"}
    assert list(red) == ["public-clean"]
    assert red["public-clean"][0].startswith("unexpected object public.stray")


def test_what_is_red_is_told_where_the_receipt_cannot_be_kept_too(live: Live) -> None:
    live.sql("CREATE TABLE public.stray (a int)")
    found, tenant = alive(live)
    (refused,) = smoke(found, receipt(), tenant, keep=Answer(stderr="No space left on device", done=False))
    first, second, _ = refused.refusal.splitlines()
    assert first.startswith("acme: public-clean: unexpected object public.stray")
    assert second == "acme: the run's receipt could not be kept: No space left on device"


def test_a_tenant_without_a_fresh_runs_catalogue_is_red_with_the_reason(live: Live) -> None:
    into = receipt(no_baseline="a command was ended after 60 s without an answer")
    found, tenant = alive(live)
    (refused,) = smoke(found, into, tenant, drift=True)
    says = "acme: drift: there is no fresh run's catalogue to compare with: a command was ended after 60 s"
    assert refused.refusal.startswith(says)


def test_the_suite_shows_no_password(live: Live) -> None:
    live.sql("ALTER ROLE memory_app_a NOLOGIN")
    found, tenant = alive(live)
    (refused,) = smoke(found, receipt(), tenant)
    assert CANARY not in refused.text


def test_nothing_is_asked_while_changes_are_detected() -> None:
    host = FakeHost()
    assert sent(operations.smoke, host, executing=False, context=TenantContext(ACME, receipt=receipt())) == []
    assert host.asked == []


DOWN = container(status="exited", pid=0, exit_code=75, process={})
NOT_ANSWERING: list[tuple[TenantState | None, str]] = [
    (None, "acme: its machine is not ready for tenants"),
    (state(machine_profile=None, **ABSENT), "acme: its machine is not ready for tenants"),
    (state(**ABSENT), "acme: it has no container"),
    (
        state(**{**ABSENT, "spec": {"generation": 1, "retired": "2026-01-31"}}),
        "acme: it was retired on 2026-01-31, and its data is kept",
    ),
    (state(container=DOWN, answer=None, marker={}), "acme: its container is exited (exit code 75)"),
    (
        state(answer=None, server_error="starting up"),
        "acme: its server is starting, stopping or in recovery: starting up",
    ),
]


@pytest.mark.parametrize(("found", "says"), NOT_ANSWERING, ids=[says for _, says in NOT_ANSWERING])
def test_a_tenant_that_cannot_be_asked_fails_with_the_reason(found: TenantState | None, says: str) -> None:
    into = receipt()
    (refused,) = smoke(found, into)
    assert refused.refusal.startswith(f"{says}\nHINT: ")
    assert into.results is None


PENDING: list[tuple[Tenant, dict[str, Any], str]] = [
    (ACME, {}, ""),
    (replace(ACME, port=5599), {}, "port 5501 -> 5599"),
    (ACME, {"container": container(labels={"pgberth.tenant": "acme", "pgberth.spec": "old"})}, "flags or settings"),
    (replace(ACME, port=5599), {"container": DOWN}, ""),
    (replace(ACME, port=5599), {"container": None}, ""),
]


@pytest.mark.parametrize(("tenant", "changes", "says"), PENDING)
def test_what_only_a_recycle_would_change_is_told_of_a_running_tenant(
    tenant: Tenant, changes: dict[str, Any], says: str
) -> None:
    found = pending.pending(state(**changes), spec_of(tenant))
    assert found.startswith(says)
    assert bool(found) is bool(says)


def test_a_setting_that_only_a_new_container_puts_back_is_pending() -> None:
    held = [{**row, "context": "postmaster"} for row in settings(max_connections="500")]
    found = pending.pending(state(answer=server(settings=held)), spec_of())
    assert found == "max_connections 500 -> 142"


def test_the_image_that_waits_is_named_beside_the_one_that_runs() -> None:
    newer = replace(spec_of(), image=replace(spec_of().image, id="sha256:new"))
    assert pending.pending(state(), newer) == f"image {spec_of().image.id} -> sha256:new"


def test_the_highest_applied_version_of_each_component_is_told() -> None:
    rows = [
        {**ledger()[0], "version": "0002", "state": "applied"},
        {**ledger()[0], "version": "0010", "state": "applied"},
        {**ledger()[0], "version": "0011", "state": "reverted"},
        {**ledger()[0], "version": "R0_grants", "kind": "repeatable", "state": "applied"},
    ]
    into = receipt()
    context, found = TenantContext(ACME, receipt=into), state(answer=server(ledger=rows))
    with on(FakeHost(facts={TenantObservation: lambda **_: found})):
        pending.record_observation(context)
    assert into.versions == {"postgres": "18.6", "pgvector": "0.8.7", "memory_plugin": "0010"}


# The receipt.


def kept(changed: bool, into: Receipt, found: TenantState | None = None) -> list[Sent]:
    context = TenantContext(ACME, receipt=into)
    context.changed = changed
    host = FakeHost(facts={TenantObservation: lambda **_: found or state()})
    return sent(operations.receipt_kept, host, context=context)


def test_a_run_that_changed_nothing_leaves_no_receipt() -> None:
    into = receipt()
    assert kept(False, into) == []
    assert into.changed is False


def test_after_a_run_that_was_killed_over_its_receipt_the_next_leaves_one() -> None:
    (keep,) = kept(False, receipt(), state(files={**state().files, "receipts/.new": "0" * 64}))
    assert keep.arguments[0] == layout.receipts("acme")


def test_a_run_that_changed_something_leaves_one_beside_the_spec_file() -> None:
    into = receipt()
    into.finished = STARTED + timedelta(seconds=2)
    (keep,) = kept(True, into)
    assert keep.under_command_lock
    assert keep.arguments == [layout.receipts("acme"), "20261121T140506Z-provision.json"]
    assert json.loads(keep.stdin) == json.loads(into.to_json())
    assert into.changed is True


def test_the_last_fifty_receipts_are_kept(tmp_path: Path) -> None:
    account, place = FakePrograms(tmp_path), tmp_path / layout.receipts("acme")
    place.mkdir(parents=True)
    for second in range(52):
        (place / f"{STARTED + timedelta(seconds=second):%Y%m%dT%H%M%SZ}-provision.json").write_text("{}")
    (keep,) = kept(True, receipt(started=STARTED + timedelta(seconds=52)))
    assert account.run(keep).returncode == 0
    names = sorted(path.name for path in place.iterdir())
    assert len(names) == 50
    assert names[0] == "20261121T140509Z-provision.json"
    assert names[-1] == "20261121T140558Z-provision.json"
    assert stat.S_IMODE((place / names[-1]).stat().st_mode) == 0o600


def test_a_verify_every_minute_does_not_push_out_what_a_deploy_did(tmp_path: Path) -> None:
    account, place = FakePrograms(tmp_path), tmp_path / layout.receipts("acme")
    place.mkdir(parents=True)
    (place / "20261121T000000Z-provision.json").write_text("{}")
    for second in range(60):
        (place / f"{STARTED + timedelta(seconds=second):%Y%m%dT%H%M%SZ}-verify.json").write_text("{}")
    (keep,) = kept(True, receipt(verb="verify", started=STARTED + timedelta(seconds=60)))
    assert account.run(keep).returncode == 0
    names = sorted(path.name for path in place.iterdir())
    assert names[0] == "20261121T000000Z-provision.json"
    assert len(names) == 51


def test_a_receipt_says_what_was_done_proven_and_not() -> None:
    results = (Result("ready", (), 0.01), Result("hba", ("line 2: x", "not the wanted one"), 0.02))
    into = receipt(
        finished=STARTED + timedelta(seconds=2.345),
        image="4b644deb6126",
        versions={"postgres": "18.6"},
        pending="port 5501 -> 5599",
        results=results,
    )
    assert json.loads(into.to_json()) == {
        "verb": "provision",
        "tenant": "acme",
        "started": "2026-11-21T14:05:06+00:00",
        "seconds": 2.35,
        "image": "4b644deb6126",
        "spec": "",
        "rollout": "",
        "versions": {"postgres": "18.6"},
        "changed": False,
        "pending": "port 5501 -> 5599",
        "checks": {"ready": "passed", "hba": ["line 2: x", "not the wanted one"]},
    }


def test_a_run_still_under_way_has_its_seconds_so_far() -> None:
    assert 0 <= receipt(started=datetime.now(UTC)).seconds < 60


# The baseline.


def read(text: str, done: bool = True) -> Any:
    host = FakeHost(answers=[("catalogue.json", Answer(text, done=done))])
    parsed = state().server
    found: list[Any] = []

    def ask(context: TenantContext) -> Any:
        assert parsed is not None
        found.append(baseline.read(context, parsed))
        yield from ()

    ask._inner = ask  # type: ignore[attr-defined]
    sent(ask, host, context=TenantContext(ACME, ""))
    return found[0]


def key(**changes: Any) -> str:
    parsed = state(answer=server(**changes)).server
    assert parsed is not None
    return baseline.key(parsed)


def test_a_kept_baseline_of_the_same_versions_is_read() -> None:
    rows = [["table", "memory_plugin.memory_records", "owner", "memory_owner"]]
    assert read(json.dumps({"key": key(), "traits": rows})) == (Trait(*rows[0]),)


OF_THESE_VERSIONS = [{"key": key()}, {"key": key(), "traits": 5}, {"key": key(), "traits": [["short"]]}]
OTHERS = ["", "{", "[]", "null", "5", '"x"', '{"key": 1}', '{"traits": []}', '{"key": "x", "traits": []}']


@pytest.mark.parametrize("text", [*OTHERS, *map(json.dumps, OF_THESE_VERSIONS)])
def test_any_other_file_counts_as_none_and_is_made_anew(text: str) -> None:
    assert read(text) is None
    assert read("", done=False) is None


def test_a_baseline_is_of_its_versions_server_and_pgvector() -> None:
    others = [key(ledger=ledger()[:-1]), key(version="18.7"), key(vector="0.8.8")]
    assert len({key(), *others}) == 4
    assert key(hba_sha256="x") == key()


def make_baseline(
    live: Live, into: Receipt, *answers: tuple[str, Answer]
) -> tuple[list[Sent], FakeHost, TenantContext]:
    found, tenant = alive(live)
    host = FakeHost(facts={TenantObservation: lambda **_: found}, answers=[*answers, SECRETS])
    context = TenantContext(tenant, receipt=into)
    return sent(baseline.baseline_known, host, context=context, actions={}), host, context


def test_making_the_baseline_is_no_change_of_the_tenant_even_where_it_fails(live: Live) -> None:
    into = receipt()
    full = Answer(stderr="could not extend file: No space left on device\nHINT: Check free disk space.", done=False)
    yielded, host, context = make_baseline(live, into, ("podman exec -i", full))
    assert (yielded, context.changed) == ([], False)
    assert into.no_baseline == "acme: its disk is full: could not extend file: No space left on device"
    assert "CREATE DATABASE memory_fresh" in host.asked[-1].stdin
    with live.cluster.connect() as session:
        held = session.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
    assert held == (0,)


def test_a_baseline_that_somebody_else_makes_is_waited_for_and_taken(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "read", lambda *_: told.pop(0))
    told: list[Any] = [None, ()]  # none yet when looked at first; there when the lock is ours
    into = receipt()
    yielded, host, _ = make_baseline(live, into)
    assert (yielded, into.no_baseline, told) == ([], "", [])
    assert not [asked for asked in host.asked if asked.stdin]


def test_whoever_holds_the_baseline_too_long_is_named(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "_SECONDS", 0.1)
    into = receipt()
    with live.cluster.connect("memory_migrator", "memory") as other:
        other.execute("SELECT pg_try_advisory_lock(%s, %s)", session_key(FRESH))
        make_baseline(live, into)
    assert into.no_baseline.startswith("memory_fresh is being migrated by pid ")
