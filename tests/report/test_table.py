"""The closing report: one line a tenant, and below it what needs an eye."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgberth.report import table as report
from pgberth.report.receipt import Receipt, Result

STARTED = datetime(2026, 11, 21, 14, 5, 6, tzinfo=UTC)
GREEN = (Result("ready", (), 0.01), Result("hba", (), 0.01))
RED = (Result("ready", (), 0.01), Result("hba", ("line 2: x", "not the wanted one"), 0.02), Result("rights", ("y",), 0))


def receipt(tenant: str = "acme", **changes: Any) -> Receipt:
    plain = Receipt("provision", tenant, ("canary",), 5501, STARTED, finished=STARTED + timedelta(seconds=1.26))
    return replace(plain, **{"notes": [], **changes})


def test_a_tenants_line_says_what_it_is_and_how_it_came_out() -> None:
    versions = {"postgres": "18.6", "pgvector": "0.8.7", "memory_plugin": "0001"}
    line = report.row(receipt(results=GREEN, image="4b644deb6126", versions=versions, rings=("canary", "eu")), set())
    assert line == {
        "tenant": "acme",
        "ring": "canary,eu",
        "port": "5501",
        "image": "4b644deb6126",
        "versions": "postgres 18.6 pgvector 0.8.7 memory_plugin 0001",
        "checks": "2 passed",
        "seconds": "1.3",
    }
    assert tuple(line) == report.COLUMNS


def test_what_is_not_known_is_a_dash() -> None:
    line = report.row(receipt(), set())
    assert (line["image"], line["versions"], line["checks"]) == ("-", "-", "not run")


@pytest.mark.parametrize(
    ("changes", "failed", "says"),
    [
        ({"results": GREEN}, False, "2 passed"),
        ({"results": GREEN}, True, "2 passed"),
        ({"results": RED}, True, "2 of 3 RED"),
        ({"results": None}, False, "not run"),
        ({"results": None}, True, "FAILED before the checks"),
        ({"state": "running g1"}, False, "running g1"),
        ({"state": "machine not ready", "results": None}, True, "machine not ready"),
    ],
)
def test_how_the_suite_came_out_fits_into_a_word_or_two(changes: dict[str, Any], failed: bool, says: str) -> None:
    assert report.checks(receipt(**changes), failed) == says


def test_below_the_table_stand_notes_what_is_pending_and_every_problem() -> None:
    told = receipt(results=RED, notes=("limits are not enforced",), pending="port 5501 -> 5599")
    assert report.lines(told, named=False) == [
        "acme: limits are not enforced",
        "acme: pending: recycle (port 5501 -> 5599)",
        "acme: RED hba: line 2: x",
        "acme: RED hba: not the wanted one",
        "acme: RED rights: y",
    ]


def test_checks_that_passed_are_named_where_that_is_asked_for() -> None:
    assert report.lines(receipt(results=GREEN), named=True) == ["acme: passed: ready hba"]
    assert report.lines(receipt(results=GREEN), named=False) == []
    assert report.lines(receipt(results=None), named=True) == []


def test_the_tables_columns_stand_below_each_other() -> None:
    rows = [report.row(receipt("acme", results=GREEN), set()), report.row(receipt("a-much-longer-name"), {"x"})]
    lines = report.table(rows).splitlines()
    assert len(lines) == 3
    assert lines[0].split() == list(report.COLUMNS)
    assert len({line.index(word) for line, word in zip(lines, ("ring", "canary", "canary"), strict=True)}) == 1
    assert not [line for line in lines if line != line.rstrip()]


def written(
    capsys: pytest.CaptureFixture[str],
    *receipts: Receipt,
    verb: str = "provision",
    notes: tuple[str, ...] = (),
    verbose: bool = False,
) -> list[str]:
    report.write(verb, list(receipts), list(notes), set(), verbose=verbose)
    printed = capsys.readouterr()
    assert printed.out == ""  # --json has stdout to itself
    return printed.err.splitlines()


def test_the_report_is_table_then_machines_then_tenants(capsys: pytest.CaptureFixture[str]) -> None:
    lines = written(
        capsys, receipt(results=RED), receipt("globex", results=GREEN), notes=("@local: unmanaged tenant 'x'",)
    )
    assert lines[0] == ""
    assert [line.split()[0] for line in lines[1:]] == ["tenant", "acme", "globex", "@local:", *["acme:"] * 3]


def test_verify_names_every_check_and_others_do_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert "acme: passed: ready hba" in written(capsys, receipt(results=GREEN), verb="verify")
    assert "acme: passed: ready hba" in written(capsys, receipt(results=GREEN), verbose=True)
    assert "acme: passed: ready hba" not in written(capsys, receipt(results=GREEN))


def test_a_run_without_tenants_prints_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(capsys) == []
    assert written(capsys, notes=("@local: the account does not exist yet",)) == [
        "@local: the account does not exist yet"
    ]
