"""`@tenant/<name>`: who its commands run as, what they see of the caller, and what comes back."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import Inventory, QuoteString, StringCommand
from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.util import CommandOutput

from pgberth.connectors.local import Identity, TenantConnector
from pgberth.inventory import machine, tenant
from tests.hosts.commands import wait_for
from tests.postgres import NOBODY

ME = pwd.getpwuid(os.geteuid())


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    """Another account where the tests run as root, the caller's own otherwise; its home is the test's."""
    if os.geteuid() == 0:
        return Identity("nobody", NOBODY, NOBODY, "/")
    return Identity(ME.pw_name, ME.pw_uid, ME.pw_gid, str(tmp_path))


@pytest.fixture
def acme(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> TenantConnector:
    monkeypatch.setattr(Identity, "of", classmethod(lambda *_: identity))
    host: Any = SimpleNamespace(name="acme", data={"pgberth_account": "pgberth"}, print_prefix="[acme] ")
    return TenantConnector(SimpleNamespace(), host)  # type: ignore[arg-type]


def run(acme: TenantConnector, text: str, **arguments: Any) -> tuple[bool, list[str], list[str]]:
    done, output = acme.run_shell_command(StringCommand(text), **arguments)
    assert isinstance(output, CommandOutput)
    return done, output.stdout_lines, output.stderr_lines


def test_a_command_runs_as_the_service_account_in_its_home(acme: TenantConnector, identity: Identity) -> None:
    assert run(acme, "id -u; id -g; pwd") == (True, [str(identity.uid), str(identity.gid), identity.home], [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes groups")
def test_a_command_has_none_of_the_callers_groups(acme: TenantConnector) -> None:
    _, (groups,), _ = run(acme, "id -G")
    assert "0" not in groups.split()


def test_a_command_sees_nothing_of_the_callers_environment(
    acme: TenantConnector, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGPASSWORD", "PGPASSFILE", "DOCKER_HOST", "CONTAINER_HOST", "LD_PRELOAD_X", "http_proxy"):
        monkeypatch.setenv(name, "of the caller's")
    _, lines, _ = run(acme, "env")
    seen = dict(line.split("=", 1) for line in lines)
    assert {name: seen[name] for name in identity.environment()} == identity.environment()
    assert set(seen) - set(identity.environment()) <= {"PWD", "OLDPWD", "SHLVL", "_"}
    assert "of the caller's" not in seen.values()


def test_the_environment_is_the_accounts_own() -> None:
    assert Identity("pgberth", 1002, 1002, "/home/pgberth").environment() == {
        "HOME": "/home/pgberth",
        "USER": "pgberth",
        "LOGNAME": "pgberth",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "XDG_RUNTIME_DIR": "/run/user/1002",
    }


def test_what_a_command_makes_is_closed_to_others(acme: TenantConnector) -> None:
    assert run(acme, "umask")[1] == ["0077"]


def test_a_command_gets_its_standard_input_and_then_its_end(acme: TenantConnector) -> None:
    assert run(acme, "cat; echo end", _stdin="one\ntwo\n")[1] == ["one", "two", "end"]
    assert run(acme, "cat; echo end")[1] == ["end"]


def test_a_large_input_arrives_whole(acme: TenantConnector) -> None:
    text = "x" * 70 + "\n"
    assert run(acme, "wc -c", _stdin=text * 10_000)[1] == [str(71 * 10_000)]


def test_a_command_that_does_not_read_its_input_still_tells_how_it_ended(acme: TenantConnector) -> None:
    done, _, stderr = run(acme, "exec 0<&-; echo no >&2; exit 3", _stdin="x" * 200_000 + "\n")
    assert (done, stderr) == (False, ["no"])


EXITS: list[tuple[str, list[int] | None, bool]] = [
    ("exit 0", None, True),
    ("exit 1", None, False),
    ("exit 75", None, False),
    ("exit 3", [0, 3], True),
    ("exit 0", [3], False),
    ("kill -9 $$", None, False),
    ("no-such-program-here", None, False),
]


@pytest.mark.parametrize(("text", "allowed", "done"), EXITS)
def test_a_command_is_done_when_its_exit_code_says_so(
    acme: TenantConnector, text: str, allowed: list[int] | None, done: bool
) -> None:
    assert run(acme, text, _success_exit_codes=allowed)[0] is done


def test_output_and_errors_are_kept_apart_and_in_order(acme: TenantConnector) -> None:
    assert run(acme, "echo a; echo b >&2; echo c; echo d >&2") == (True, ["a", "c"], ["b", "d"])


def test_a_command_is_not_torn_apart_by_an_interrupt_at_the_terminal(acme: TenantConnector) -> None:
    _, (session,), _ = run(acme, "ps -o sid= -p $$ || cut -d' ' -f6 /proc/$$/stat")
    assert int(session) != os.getsid(0)


def test_hostile_text_in_a_command_is_the_shells_own_quoting(acme: TenantConnector) -> None:
    command = StringCommand("printf '%s'", QuoteString("$(id)`id`;id\n'\""))
    done, output = acme.run_shell_command(command)
    assert (done, output.stdout) == (True, "$(id)`id`;id\n'\"")


def test_an_account_that_does_not_exist_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    host: Any = SimpleNamespace(name="acme", data={"pgberth_account": "no-such-account"}, print_prefix="")
    done, _, stderr = run(TenantConnector(SimpleNamespace(), host), "true")  # type: ignore[arg-type]
    assert (done, stderr[0]) == (False, "account 'no-such-account' does not exist on this machine")
    assert stderr[1].startswith("HINT: run the deploy once without --limit")


def test_an_account_without_its_home_is_told_of_and_nothing_runs(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.geteuid())
    nowhere = Identity(me.pw_name, me.pw_uid, me.pw_gid, str(tmp_path / "gone"))
    with pytest.raises(LookupError, match=f"account '{me.pw_name}' has no home .*gone on this machine"):
        nowhere.start(StringCommand("true"))


def test_a_caller_who_is_not_root_is_the_account_whatever_the_inventory_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert Identity.of("pgberth") == Identity.of(None)
    assert Identity.of("pgberth").uid == NOBODY
    assert Identity.of("pgberth").popen_arguments() == {}


def test_root_without_an_account_named_is_root_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Identity.of(None).uid == 0
    assert Identity.of("").uid == 0


def test_the_host_has_the_tenants_bare_name() -> None:
    name, data = tenant("acme", on=machine("@local"), port=5501)
    inventory = Inventory(([(name, data)], {}), canary=([name], {}))
    assert list(inventory.hosts) == ["acme"]
    assert inventory.hosts["acme"].connector_cls is TenantConnector
    assert "canary" in inventory.hosts["acme"].groups


def test_a_tenant_without_a_name_is_refused() -> None:
    with pytest.raises(InventoryError, match="@tenant needs a name"):
        Inventory((["@tenant"], {}))


def test_what_is_held_lives_until_it_is_let_go_of_and_has_said_its_first_line(acme: TenantConnector) -> None:
    held, line = acme.acquire_lock(StringCommand("echo held; head -c 1 >/dev/null"))
    assert line == "held"
    assert held is not None
    assert not held.lapsed()
    held._write(b".")
    wait_for("its end", lambda: "" if held.lapsed() else "alive", 30)


def test_who_has_lost_the_lock_does_nothing_more(acme: TenantConnector) -> None:
    held, _ = acme.acquire_lock(StringCommand("echo held"))
    assert held is not None
    wait_for("its end", lambda: "" if held.lapsed() else "alive", 30)
    done, out, (fact, hint) = run(acme, "echo touched")
    assert (done, out) == (False, [])
    assert fact.startswith("acme: its lock is lost")
    assert hint.startswith("HINT: run the deploy again")


def test_what_does_not_hold_is_not_held(acme: TenantConnector) -> None:
    assert acme.acquire_lock(StringCommand("echo busy ada")) == (None, "busy ada")
    assert run(acme, "echo works")[1] == ["works"]


def test_nothing_is_held_where_there_is_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    host: Any = SimpleNamespace(name="acme", data={"pgberth_account": "no-such-account"}, print_prefix="")
    connector = TenantConnector(SimpleNamespace(), host)  # type: ignore[arg-type]
    assert connector.acquire_lock(StringCommand("true")) == (
        None,
        "account 'no-such-account' does not exist on this machine",
    )


def test_no_run_but_ours_is_hooked_into() -> None:
    # pyinfra imports every connector at start-up, of other people's deploys too.
    code = (
        "import signal, pgberth.connectors.local; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
