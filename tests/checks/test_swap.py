"""Every check says whether a swap of containers can change it, and only those that it can change decide about one."""

from __future__ import annotations

from pgberth.checks.suite import ALL
from pgberth.checks.swap import BY_CHECK, Swap
from pgberth.report.receipt import Result
from pgberth.rollout.judgement import caused, described, preventing

RED = [Result(name, ("it is red",), 0.1) for name in BY_CHECK]


def test_every_check_is_classified_once() -> None:
    assert sorted(BY_CHECK) == sorted(check.id for check in ALL)


def test_what_no_swap_can_change_neither_prevents_one_nor_undoes_one() -> None:
    neither = {name for name, swap in BY_CHECK.items() if swap is Swap.NEITHER}
    assert {"rights", "public-clean", "ledger", "schema", "drift", "tls-certificate", "connection-files"} <= neither
    deciding = {result.id for result in [*preventing(RED), *caused(RED, ())]}
    assert deciding == set(BY_CHECK) - neither


def test_what_a_swap_can_cure_does_not_prevent_it() -> None:
    prevents = {result.id for result in preventing(RED)}
    assert prevents.isdisjoint({"container-spec", "container-hardened", "configuration", "extension"})
    assert {"ready", "memory-round-trip", "tls-only", "volume-identity"} <= prevents


def test_what_was_red_before_was_not_caused_by_the_swap() -> None:
    assert [result.id for result in caused(RED[:3], {RED[0].id, RED[2].id})] == [RED[1].id]


def test_each_red_check_is_a_line_and_the_last_one_carries_the_hint() -> None:
    red = [Result("ready", ("one", "two"), 0.1), Result("hba", ("three",), 0.1)]
    lines = [str(problem) for problem in described("acme", red, "see the page")]
    assert lines == ["acme: ready: one", "acme: ready: two", "acme: hba: three\nHINT: see the page"]
    assert described("acme", []) == []
