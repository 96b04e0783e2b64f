"""The verbs on the real command line, on machines that only pretend: order, limits, refusals, exit codes, output."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pgberth import commands
from pgberth.model import layout
from tests.fake_host import CANARY
from tests.verbs.runs import ACME, GLOBEX, Run
from tests.verbs.scenarios import SCENARIOS

Runs = Callable[[str], Run]
START = commands.script("container/start.sh")


def test_a_run_that_finds_everything_in_order_changes_nothing(runs: Runs) -> None:
    run = runs("in order")
    assert run.code == 0, run.stderr
    totals = run.results["totals"]
    assert totals["success"] == 0
    assert totals["error"] == 0
    assert totals["no_change"] > 20
    assert run.changes == []


def test_with_json_nothing_else_is_on_stdout_and_the_table_is_on_stderr(runs: Runs) -> None:
    run = runs("in order")
    assert set(json.loads(run.stdout)) == {"plan", "results"}
    assert "tenant  ring " in run.stderr
    assert sorted(line.split()[:3] for line in run.stderr.splitlines() if "18.6" in line) == [
        ["acme", "canary", str(ACME.port)],
        ["globex", "production", str(GLOBEX.port)],
    ]


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - {"in order"}))
def test_no_run_writes_on_stdout_what_is_meant_for_people(runs: Runs, name: str) -> None:
    assert runs(name).stdout == ""


def test_a_new_tenant_is_made_step_by_step_and_machines_come_first(runs: Runs) -> None:
    run = runs("new")
    assert run.code == 0, run.stderr
    assert run.commands[0].host == "@local"
    changed = [command.sent for command in run.commands if command.host == "acme" and command.sent.under_command_lock]
    assert changed[0].arguments[1:] == ["superuser-v1", "migrator-v1", "app-v1", "monitor-v1"]
    assert changed[1].stdin == commands.script("container/init.sh")
    assert list(changed[2].files) == [layout.spec_file("acme")]
    assert changed[-2].script == START
    last_machine = max(number for number, command in enumerate(run.commands) if command.host == "@local")
    first_tenant = min(number for number, command in enumerate(run.commands) if command.host != "@local")
    assert last_machine < first_tenant


def test_a_machine_that_is_not_ready_stops_its_own_tenants_and_is_told_what_it_lacks(runs: Runs) -> None:
    run = runs("machine not ready")
    assert run.code == 1
    # Once, after everything else, and as it is to be pasted.
    _, *told = run.stderr.split("HINT: an administrator runs, as root:\n")
    assert [text.count("\nthen run the deploy again; nothing was touched\n") for text in told] == [1]
    assert all(line.startswith("  ") for line in told[0].partition("\nthen run")[0].splitlines())
    assert "useradd" not in run.stderr  # a plain user has tenants of its own
    for tenant in ("acme", "globex"):
        assert f"{tenant}: its machine @local failed; see above" in run.stderr
    assert run.changes == []


def test_one_tenants_failure_never_stops_another_and_the_exit_code_is_still_1(runs: Runs) -> None:
    run = runs("one fails, one is pending")
    assert run.code == 1
    assert "acme: podman cannot describe its container: Error: database is locked" in run.stderr
    table = rows(run)
    assert "FAILED before the checks" in table["acme"]
    assert "not run" in table["globex"]


def test_what_only_a_recycle_would_change_is_pending_and_nothing_is_interrupted(runs: Runs) -> None:
    run = runs("one fails, one is pending")
    assert "globex: pending: recycle (flags or settings of this release)" in run.stderr
    assert START not in [command.script for command in run.changes]


def rows(run: Run) -> dict[str, str]:
    """Tenant -> its line of the closing table."""
    return {line.split()[0]: line for line in run.stderr.splitlines() if line.startswith(("acme  ", "globex  "))}


def test_a_failed_command_is_a_failure_even_where_pyinfra_would_forget_it(runs: Runs) -> None:
    run = runs("a command fails")
    assert "--no-wait" in run.arguments
    assert run.code == 1
    assert "disk full" in run.stderr


def test_a_limited_run_touches_nothing_else(runs: Runs) -> None:
    run = runs("limited to a ring")
    assert run.code == 0, run.stderr
    assert {command.host for command in run.commands} == {"acme"}
    assert run.changes


def test_a_limit_that_matches_nothing_does_not_look_like_success(runs: Runs) -> None:
    run = runs("limited to nothing")
    assert run.code == 1
    assert "provision: no host of the inventory matches --limit" in run.stderr
    assert run.commands == []


def test_verify_lists_red_checks_names_green_ones_and_changes_nothing(runs: Runs) -> None:
    run = runs("checks are red")
    assert run.code == 1
    assert "acme: RED ready: could not be asked: connection failed" in run.stderr
    assert "acme: passed: container-spec container-image container-hardened" in run.stderr
    assert "HINT: " in run.stderr
    assert " RED " in rows(run)["acme"]
    # The receipt of a run that was red is all it leaves.
    (keep,) = run.changes
    assert keep.arguments[0].endswith("tenants/acme/receipts")
    assert keep.arguments[1].endswith("-verify.json")


BAD = [
    "--data smok: unknown (did you mean 'smoke'?)",
    "a tenant's fields belong in the inventory",
    "inventories/prod.py:4: machine '@local': unknown field 'acount' (did you mean 'account'?)",
    "inventories/prod.py:8: tenant 'Acme': name must be 1 to 31 of a-z",
    "inventories/prod.py:9: tenant 'globex': port '5502' must be a whole number from 1024 to 65535",
    "inventories/prod.py:9: tenant 'globex': components {'memory_plugn'} must be",
    "did you mean 'memory_plugin'?",
    r"inventories/prod.py:10: tenant 'initech\n': name must be 1 to 31 of a-z",
    r"inventories/prod.py:10: tenant 'initech\n': port 80 must be",
    r"inventories/prod.py:10: tenant 'initech\n': unknown field 'colour'",
    "tenant 'hooli' is declared twice: inventories/prod.py:13 and inventories/prod.py:14",
    "inventories/prod.py:13: tenant 'hooli': profile 'huge' must be one of small",
    "inventories/prod.py:13: tenant 'hooli': image Image(suite='$(id)', postgres=18) must be",
    "port 5505 on @local is used by 'hooli' (inventories/prod.py:13) and 'umbrella' (inventories/prod.py:15)",
    "inventories/prod.py:15: tenant 'umbrella': parameters {'knowledge': 5} must be",
]


def test_a_bad_inventory_is_refused_whole_before_anything_is_touched(runs: Runs) -> None:
    run = runs("bad inventory")
    assert run.code == 1
    assert [line for line in BAD if line not in run.stderr] == []
    assert run.commands == []


SLIPS = {
    "a slip": "inventories/prod.py:8: name 'tennant' is not defined (did you mean 'tenant'?)",
    "a slip of grammar": "inventories/prod.py:4: '(' was never closed",
}


@pytest.mark.parametrize("what", SLIPS)
def test_a_slip_in_the_inventory_is_told_with_its_line_and_without_a_stack_trace(runs: Runs, what: str) -> None:
    run = runs(what)
    assert run.code == 1
    assert f"the inventory is refused:\n{SLIPS[what]}\nHINT: " in run.stderr
    assert "Traceback" not in run.stderr
    assert "pyinfra-debug.log" not in run.stderr
    assert run.commands == []


def test_a_run_interrupted_before_its_inventory_is_read_does_not_end_well_either(runs: Runs) -> None:
    run = runs("interrupted at the start")
    assert run.code == 130
    assert "interrupted: " in run.stderr
    assert "Traceback" not in run.stderr


def test_a_refusal_is_said_once_and_without_a_stack_trace(runs: Runs) -> None:
    run = runs("bad inventory")
    assert run.stderr.count(BAD[2]) == 1
    assert "Traceback" not in run.stderr


def test_another_operators_tenant_is_left_alone_and_the_others_go_on(runs: Runs) -> None:
    run = runs("another operator")
    assert run.code == 1
    assert "acme: another operator works on it: ada@db1 since noon (recycle)" in run.stderr
    assert not [command for command in run.sent_to("acme") if command.under_command_lock]
    assert [command for command in run.sent_to("globex") if command.under_command_lock]


def test_an_interrupted_run_says_so_and_never_ends_well(runs: Runs) -> None:
    run = runs("interrupted")
    assert run.code == 130
    assert "interrupted: commands that already run on the machines continue to their end" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_run_that_prints_everything_it_can_prints_no_password(runs: Runs) -> None:
    run = runs("everything printed")
    written = "\n".join(command.sent.stdin for command in run.commands)
    assert CANARY in written  # the connection files were sent
    assert "PASSWORD 'SCRAM-SHA-256$" in written
    assert "section machine" in run.stderr  # commands are printed
    assert '"system_identifier"' in run.stderr  # and what they say
    for text in (run.stdout, run.stderr, *(command.sent.text for command in run.commands)):
        assert CANARY not in text
        assert "SCRAM-SHA-256$4096:" not in text


def test_status_tells_what_is_there_pending_adrift_and_left_over_and_only_looks(runs: Runs) -> None:
    run = runs("status")
    assert run.code == 0, run.stderr
    table = rows(run)
    assert "running g1" in table["acme"]
    assert "absent" in table["globex"]
    for line in (
        "acme: pending: recycle (flags or settings of this release)",
        "acme: RED rights: grant schema public has CREATE for PUBLIC, not wanted",
        "acme: drift: the catalogue could not be compared: connection failed",
        "acme: memory and pids limits are not enforced",
        "@local: unmanaged tenant 'gone': directory, volume:gone-data-g2; kept as it is",
    ):
        assert line in run.stderr
    assert run.changes == []
