"""Every host that did not get to its end is named, with where it ended and why."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pyinfra.api import Inventory

from pgberth.inventory import machine, tenant
from pgberth.model.problems import Problem
from pgberth.report.receipt import Receipt, Result, current_report
from pgberth.report.unfinished import report_failed

DB1 = machine("db1")
LOST = Problem("db1: lost: no answer from ada@db1:22 for 30 s", "try by hand")


class Ran:
    """
    A run over db1 and its tenants acme and globex.

    + steps: operation -> what it said on stderr; None where its turn never came
    """

    def __init__(self, steps: dict[str, list[str] | None], gone: Problem | None = None):
        lines = [DB1.host, tenant("acme", on=DB1, port=5501), tenant("globex", on=DB1, port=5502)]
        self.inventory = Inventory((lines, {}), canary=(["acme"], {}))
        self.ops: Any = {}
        for host in self.inventory:
            host.connector = SimpleNamespace(problem=gone)  # type: ignore[assignment]
            host.op_hash_order = list(steps)
            self.ops[host] = {name: SimpleNamespace(operation_meta=_Meta(said)) for name, said in steps.items()}

    def get_op_meta(self, name: str) -> Any:
        return SimpleNamespace(names={name})

    def report(self, name: str) -> None:
        report_failed("provision", self, self.inventory.get_host(name))


class _Meta:
    def __init__(self, said: list[str] | None):
        self.said = said

    def is_complete(self) -> bool:
        return self.said is not None

    @property
    def stderr_lines(self) -> list[str]:
        return self.said or []


def test_a_tenant_that_was_never_reached_has_its_line_in_the_table() -> None:
    Ran({}, gone=Problem("db1: unreachable: no answer from ada@db1:22")).report("acme")
    receipt = current_report().receipts["acme"]
    assert (receipt.rings, receipt.port, receipt.state) == (("canary",), 5501, "UNREACHABLE")
    assert receipt.notes == ["db1: unreachable: no answer from ada@db1:22"]


def test_a_machine_that_was_not_reached_is_noted() -> None:
    Ran({}, gone=Problem("db1: unreachable: no answer from ada@db1:22")).report("db1")
    assert (current_report().notes, current_report().receipts) == (["db1: unreachable: no answer from ada@db1:22"], {})


def test_where_a_tenant_s_run_ended_is_told_with_the_reason() -> None:
    current_report().receipts["acme"] = Receipt("provision", "acme", ("canary",), 5501)
    said = ["", "acme: port 5501 is taken by pid 7", "HINT: stop it"]
    Ran({"tenant is locked for this run": [], "container runs": said, "smoke checks pass": None}).report("acme")
    assert current_report().receipts["acme"].notes == ["not finished: container runs: port 5501 is taken by pid 7"]
    assert current_report().receipts["acme"].state == ""


def test_a_lost_machine_is_the_reason_whatever_the_command_said() -> None:
    current_report().receipts["acme"] = Receipt("provision", "acme", ("canary",), 5501)
    Ran({"container runs": ["half a line"], "smoke checks pass": None}, gone=LOST).report("acme")
    assert current_report().receipts["acme"].notes == [
        "not finished: container runs: db1: lost: no answer from ada@db1:22 for 30 s"
    ]


def test_a_step_that_said_nothing_points_to_what_was_said_before() -> None:
    current_report().receipts["acme"] = Receipt("provision", "acme", ("canary",), 5501)
    Ran({"passwords exist": []}).report("acme")
    assert current_report().receipts["acme"].notes == ["not finished: passwords exist: see above"]


def test_red_checks_speak_for_themselves() -> None:
    current_report().receipts["acme"] = Receipt(
        "provision", "acme", (), 5501, results=(Result("hba", ("line 2",), 0.1),)
    )
    Ran({"smoke checks pass": ["acme: RED hba"]}).report("acme")
    assert current_report().receipts["acme"].notes == []
