"""What is tried on the canary ring first: how a canary stands, and who has to wait for it."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.rollout import rings
from tests.fake_host import Answer, FakeHost, Sent, sent
from tests.sample import ABSENT, ACME, container, spec_file, spec_of, state

GLOBEX = replace(ACME, name="globex", port=5599, rings=("production",))
GREEN = {"verb": "recycle", "spec": spec_of().hash, "checks": {"ready": "passed"}, "did": {"outcome": "recycled"}}


def gate(canary: TenantState | None, receipt: Any = GREEN, *, concerned: bool = True, canaries: Any = (ACME,)) -> str:
    """What globex is told; "" where it may go on."""
    looks = {"acme": canary, "globex": state(GLOBEX)}
    there = FakeHost(
        facts={TenantObservation: lambda tenant, **_: looks[tenant]},
        answers=[("newest=", Answer(receipt if isinstance(receipt, str) else json.dumps(receipt)))],
    )
    here = FakeHost(facts=there.facts, name="globex")
    there.connect = lambda **_: None  # type: ignore[attr-defined]
    yielded: list[Sent] = sent(
        rings.canary_green,
        here,
        inventory=SimpleNamespace(get_host=lambda _: there),
        context=TenantContext(GLOBEX),
        canaries=list(canaries),
        concerned=concerned,
    )
    return yielded[0].refusal if yielded else ""


def test_a_tenant_gets_what_the_canary_is_green_on() -> None:
    assert gate(state()) == ""


def test_the_canary_itself_and_whoever_has_none_wait_for_nobody() -> None:
    assert gate(state(**ABSENT), concerned=False) == gate(None, canaries=()) == ""


RED: list[tuple[TenantState | None, Any, str]] = [
    (None, GREEN, "its container does not run"),
    (state(**ABSENT), GREEN, "its container does not run"),
    (
        state(answer=None, server_error="starting up"),
        GREEN,
        "its server is starting, stopping or in recovery: starting up",
    ),
    (state(files={"recycling.json": "00"}), GREEN, "a recycle of it is not over"),
    (state(spec={**spec_file(), "hash": "f00"}), GREEN, f"it runs spec {spec_of().hash}, its spec file says f00"),
    (state(), {**GREEN, "did": {"outcome": "went back"}}, "its last recycle went back"),
    (state(), {**GREEN, "checks": {"ready": ["no"], "hba": "passed"}}, "its last recycle found ready red"),
    (state(), {**GREEN, "spec": "f00"}, f"nothing proves spec {spec_of().hash}, which it runs"),
    (state(), "", f"nothing proves spec {spec_of().hash}, which it runs"),
    (state(), "{half", "its newest receipt cannot be read"),
    (state(), "[]", "its newest receipt cannot be read"),
]


@pytest.mark.parametrize(("canary", "receipt", "why"), RED, ids=[why for *_, why in RED])
def test_a_canary_is_not_green_where(canary: TenantState | None, receipt: Any, why: str) -> None:
    said = gate(canary, receipt)
    assert said.startswith(f"globex: canary acme is not green: {why}\nHINT: nothing was done; recycle the ring first")


def test_a_green_canary_on_something_else_proves_nothing() -> None:
    previous = {**spec_file(), "rollout": "0123456789abcdef"}
    assert gate(state(spec=previous, container=container())).startswith(
        "globex: no canary tenant runs what this one would get (image, profile, flags and bundle version "
    )
