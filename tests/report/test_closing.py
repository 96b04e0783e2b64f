"""What a run comes to: an exit code that tells the truth, whatever pyinfra's own would be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import click
import pytest
from pyinfra.api.exceptions import DeployError, PyinfraError
from pyinfra.context import ctx_state

from pgberth.inventory.declare import DECLARED
from pgberth.report import closing
from pgberth.report.receipt import Receipt, Result, current_report
from pgberth.run import current_run

# pyinfra's command line patches the whole process for gevent when it is imported; the other tests run in it, too.
with mock.patch("gevent.monkey.patch_all"):
    from pyinfra_cli.exceptions import UnexpectedInternalError, WrappedError

DEPLOY = Path(closing.__file__).resolve().parents[2]


@dataclass(frozen=True)
class Host:
    """A tenant's, before its first operation."""

    name: str
    groups: tuple[str, ...] = ()
    op_hash_order: tuple[str, ...] = ()
    connector: object = None

    @property
    def data(self) -> Any:
        return SimpleNamespace(dict=lambda: {f"{DECLARED}here": ("tenant", self.name, {"port": 5501}, {})})


def closed(
    hosts: str = "acme globex",
    limited: str | None = None,
    failed: str = "",
    erred: str = "",
    dropped: str = "",
) -> int:
    """
    The exit code that a run ends with; 0 where closing leaves pyinfra's own alone.

    + limited: hosts that --limit matches; None for all
    + failed, erred: hosts that failed, hosts with an operation that did
    + dropped: hosts that are not active any more
    """
    every = [Host(name) for name in hosts.split()]
    desired = " ".join(host.name for host in every) if limited is None else limited
    state = SimpleNamespace(
        inventory=every,
        active_hosts={host for host in every if host.name not in dropped.split()},
        failed_hosts={host for host in every if host.name in failed.split()},
        results={host: SimpleNamespace(error_ops=int(host.name in erred.split())) for host in every},
        is_host_in_limit=lambda host: host.name in desired.split(),
        print_noop_info=False,
    )
    with ctx_state.use(state):
        try:
            closing._close("provision")
        except SystemExit as ending:
            return int(ending.code or 0)
        finally:
            ctx_state.reset()
    return 0


def test_a_run_that_went_well_keeps_its_exit_code() -> None:
    assert closed() == 0
    assert closed(limited="acme") == 0


def test_a_failed_host_is_a_failure() -> None:
    assert closed(failed="globex") == 1
    assert closed(failed="acme globex", dropped="acme globex") == 1


def test_a_failed_operation_is_a_failure_even_where_pyinfra_forgot_it() -> None:
    # Under --no-wait pyinfra exits 0.
    assert closed(erred="acme") == 1


def test_a_limit_that_matches_nothing_is_a_failure_and_names_the_inventorys_hosts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert closed(limited="") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "provision: no host of the inventory matches --limit" in printed.err
    assert "acme" in printed.err
    assert "globex" in printed.err


def test_a_tenant_that_never_began_has_its_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert closed(failed="globex") == 1
    printed = capsys.readouterr().err
    assert "UNREACHABLE" in printed
    assert "globex: not finished" in printed
    assert "acme" not in printed


def test_an_inventory_without_a_host_is_told_apart_from_a_limit_without_a_match(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert closed(hosts="") == 1
    assert "provision: the inventory declares no host\nHINT: machines = [machine(...).host]" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_no_empty_inventory(capsys: pytest.CaptureFixture[str]) -> None:
    current_run().inventory = "inventories/none.py"
    assert closed(hosts="") == 1
    assert "provision: there is no inventory inventories/none.py\nHINT: " in capsys.readouterr().err


def test_an_interrupted_run_never_ends_well() -> None:
    current_run().interrupted = True
    assert closed() == 130
    assert closed(failed="acme") == 130


def test_an_interrupt_ends_the_run_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        closing._interrupt()
    assert ending.value.code == 130
    assert "run the deploy again" in capsys.readouterr().err
    assert closed() == 130


def test_what_the_tenants_have_to_tell_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    current_report().receipts["acme"] = Receipt(
        "provision", "acme", ("canary",), 5501, results=(Result("hba", ("x",), 0.1),)
    )
    current_report().receipts["globex"] = Receipt("provision", "globex", ("production",), 5502)
    current_report().notes.append("@local: unmanaged tenant 'gone'")
    assert closed(failed="acme globex") == 1
    printed = capsys.readouterr().err
    assert "1 of 1 RED" in printed
    assert "FAILED before the checks" in printed
    assert "acme: RED hba: x" in printed
    assert "unmanaged tenant 'gone'" in printed


def raised(fault: Exception, failed: str) -> tuple[int, bool]:
    """The exit code of a run that pyinfra's command line ends over this, and whether pyinfra gets to show it."""
    error = WrappedError(fault) if isinstance(fault, PyinfraError) else UnexpectedInternalError(fault)
    try:
        raise error
    except click.ClickException:
        return closed(failed=failed), closed(failed=failed) == 0


def test_a_refusal_of_ours_comes_last_and_is_not_lost_where_a_host_was_not_reached_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for failed in ("", "globex"):
        assert raised(DeployError("the inventory is refused:\nacme: no"), failed) == (1, False)
        assert capsys.readouterr().err.endswith("the inventory is refused:\nacme: no\n")


def test_that_no_host_is_left_needs_no_second_telling() -> None:
    assert raised(PyinfraError("No hosts remaining!"), "acme globex") == (1, False)


def test_a_fault_of_our_own_is_shown_by_pyinfra_whatever_else_failed() -> None:
    assert raised(ZeroDivisionError("x"), "globex") == (0, True)


def test_a_run_that_never_got_to_its_inventory_is_left_to_pyinfra() -> None:
    ctx_state.reset()
    closing._close("provision")
    for state in (SimpleNamespace(inventory=None), SimpleNamespace()):
        with ctx_state.use(state):
            closing._close("provision")
    ctx_state.reset()


@pytest.mark.parametrize(
    ("operations", "verb"),
    [
        ((DEPLOY / "provision.py",), "provision"),
        ((str(DEPLOY / "verify.py"),), "verify"),
        (("other.py", DEPLOY / "status.py"), "status"),
        (("other.py",), None),
        ((DEPLOY / "pgberth/report/closing.py",), None),
        (("server.shell", "id"), None),
        (("exec", "--", "id"), None),
        ((), None),
    ],
)
def test_only_a_run_of_one_of_our_verbs_is_ours_to_judge(operations: tuple[object, ...], verb: str | None) -> None:
    assert closing.verb_of(operations) == verb


def test_a_verb_is_known_by_a_relative_path_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DEPLOY.parent)
    assert closing.verb_of(("deploy/provision.py",)) == "provision"
    monkeypatch.chdir(DEPLOY)
    assert closing.verb_of(("provision.py",)) == "provision"


def test_nothing_is_hooked_where_pyinfra_is_a_library() -> None:
    assert click.get_current_context(silent=True) is None
    closing.install()
