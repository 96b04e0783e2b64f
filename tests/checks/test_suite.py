"""The suite's frame: which checks a tenant gets, that no check's trouble silences another, and the schema's checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pgberth.checks import suite
from pgberth.checks.context import Check, CheckContext
from pgberth.checks.suite import ALL, checks_for, run
from pgberth.model.tenant import COMPONENTS, Tenant
from tests.checks.test_container import context
from tests.sample import ACME, ledger, server


def test_every_check_has_an_id_of_its_own_and_a_promise() -> None:
    ids = [check.id for check in ALL]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in ids)
    assert all(len(check.promise) > 15 for check in ALL)
    assert len({check.promise for check in ALL}) == len(ALL)


def test_a_check_of_a_component_is_asked_only_of_tenants_that_have_it() -> None:
    for component in COMPONENTS:
        asked = {check.component for check in checks_for((component,))}
        assert asked <= {None, component}
    assert set(checks_for(COMPONENTS, baseline=True, beyond_loopback=True)) == set(ALL)


def test_tls_is_asked_only_of_servers_that_listen_beyond_loopback() -> None:
    more = set(checks_for(COMPONENTS, beyond_loopback=True)) - set(checks_for(COMPONENTS))
    assert {check.id for check in more} == {"tls-only", "tls-certificate"}


def test_drift_is_asked_only_where_there_is_something_to_compare_with() -> None:
    assert "drift" not in [check.id for check in checks_for(COMPONENTS)]
    assert "drift" in [check.id for check in checks_for(COMPONENTS, baseline=True)]


def finds(*problems: str, then: Exception | None = None) -> Any:
    def find(_: CheckContext) -> Iterator[str]:
        yield from problems
        if then is not None:
            raise then

    return find


def results(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> dict[str, tuple[str, ...]]:
    monkeypatch.setattr(suite, "ALL", checks)
    return {result.id: result.problems for result in run(context())}


def test_no_checks_trouble_keeps_the_others_from_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = psycopg.OperationalError("server closed the connection unexpectedly\n")
    found = results(
        monkeypatch,
        Check("first", "", finds()),
        Check("second", "", finds("a problem", then=gone)),
        Check("third", "", finds("one", "two")),
    )
    assert found == {
        "first": (),
        "second": ("a problem", "could not be asked: server closed the connection unexpectedly"),
        "third": ("one", "two"),
    }


def test_a_failed_checks_row_is_not_shown(monkeypatch: pytest.MonkeyPatch, live: Any) -> None:
    def violate(of: CheckContext) -> Iterable[str]:
        live.sql(
            "CREATE TABLE public.t (a text CONSTRAINT short CHECK (length(a) < 3)); GRANT ALL ON public.t TO PUBLIC"
        )
        of.app().execute("INSERT INTO public.t VALUES ('hunter2-hunter2')")
        return ()

    monkeypatch.setattr(suite, "ALL", (Check("violates", "", violate),))
    (result,) = run(live.context())
    assert result.problems == ('could not be asked: new row for relation "t" violates check constraint "short"',)


def test_the_suites_sessions_end_with_it(monkeypatch: pytest.MonkeyPatch, live: Any) -> None:
    opened: list[psycopg.Connection[Any]] = []

    def ask(of: CheckContext) -> Iterable[str]:
        opened.extend((of.app(), of.app("knowledge"), of.app("knowledge")))
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(suite, "ALL", (Check("asks", "", ask),))
    with pytest.raises(RuntimeError):
        run(live.context())
    assert [session.closed for session in opened] == [True, True, True]
    assert len(set(opened)) == 2  # one a component, kept open for the next check


def red(tenant: Tenant = ACME, **told: Any) -> dict[str, list[str]]:
    """Red check of the schema's -> its problems, with this answer of the server."""
    asked = replace(context(told=server(**told)), tenant=tenant)
    checks = {
        check.id: check for check in ALL if check.id in ("extension", "public-clean", "ledger", "schema", "rights")
    }
    assert len(checks) == 5
    return {name: found for name, check in checks.items() if (found := list(check.find(asked)))}


def finding(kind: str, thing: str, problem: str) -> dict[str, str]:
    return {"kind": kind, "object": thing, "problem": problem}


def test_a_schema_in_order_is_green() -> None:
    assert red() == {}


FIRST, *_, LAST = ledger()
SCHEMA_FINDING = {"component": "memory_plugin", "version": FIRST["version"], "kind": "schema"}

PLANTED: dict[str, tuple[dict[str, Any], str, str]] = {
    "pgvector behind the image": (
        {"vector": "0.8.5"},
        "extension",
        "vector is at 0.8.5, the image carries 0.8.7: ALTER EXTENSION vector UPDATE",
    ),
    "pgvector too old": (
        {"vector": "0.8.3", "vector_available": "0.8.3"},
        "extension",
        "vector is at 0.8.3, the floor is 0.8.4",
    ),
    "pgvector elsewhere": (
        {"access": [finding("extension", "vector", "is in schema knowledge, wanted public")]},
        "extension",
        "extension vector is in schema knowledge, wanted public",
    ),
    "a stray table": (
        {"access": [finding("unexpected object", "public.notes", "does not belong")]},
        "public-clean",
        "unexpected object public.notes does not belong",
    ),
    "a role too many": (
        {"access": [finding("unknown role", "intruder", "is not one of the tenant's roles")]},
        "rights",
        "unknown role intruder is not one of the tenant's roles",
    ),
    "a step not applied": (
        {"ledger": [row for row in ledger() if row["version"] != LAST["version"]]},
        "ledger",
        f"{LAST['component']} {LAST['version']} is not applied",
    ),
    "an edited file": (
        {"ledger": [{**FIRST, "template_sha256": "0" * 64, "rendered_sha256": "0" * 64}, *ledger()[1:]]},
        "ledger",
        FIRST["version"],
    ),
    "a version nobody knows": (
        {"ledger": [*ledger(), {**FIRST, "version": "0099", "name": "from_tomorrow"}]},
        "ledger",
        "0099",
    ),
    "a missing schema": (
        {"findings": [{**SCHEMA_FINDING, "object": "memory_plugin", "problem": "is missing"}]},
        "schema",
        "schema memory_plugin is missing",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_each_thing_that_is_wrong_turns_its_own_check_red(what: str) -> None:
    told, check, says = PLANTED[what]
    found = red(**told)
    assert set(found) == {check}
    assert any(says in problem for problem in found[check]), found


def test_an_old_pgvector_is_green_where_the_tenant_says_so() -> None:
    knowing = replace(ACME, allow_old_pgvector=True)
    for accepted in ("0.8.0", "0.8.3"):
        assert red(knowing, vector=accepted, vector_available=accepted) == {}
    assert set(red(knowing, vector="0.7.4", vector_available="0.7.4")) == {"extension"}


def test_what_is_wrong_with_a_version_that_is_not_applied_is_not_told_twice() -> None:
    told = {**SCHEMA_FINDING, "version": LAST["version"], "object": "x", "problem": "is missing"}
    assert set(red(findings=[told], ledger=ledger()[:-1])) == {"ledger"}


def test_edited_history_is_told_once_by_the_ledger_and_silences_the_schema() -> None:
    edited = [{**FIRST, "template_sha256": "0" * 64, "rendered_sha256": "0" * 64}, *ledger()[1:]]
    assert set(red(ledger=edited)) == {"ledger"}
