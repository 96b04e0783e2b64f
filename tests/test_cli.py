"""The everyday commands of a local inventory: a URL, psql, logs, and cleaning up."""

from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgberth import clean, commands
from pgberth import cli as local
from pgberth.connectors.local import Identity
from pgberth.model import layout
from pgberth.rendering.entrypoint import entrypoint
from tests.fake_host import CANARY, password_in
from tests.fake_podman import FakePrograms
from tests.sample import ACME, spec_file

INVENTORY = """\
from pgberth.inventory import machine, tenant

_here = machine("@local", account="svc")
_far = machine("db1.example.net")

machines = [_here.host, _far.host]
canary = [tenant("acme", on=_here, port=5501, components={"memory_plugin"})]
production = [tenant("globex", on=_far, port=5501, components={"memory_plugin"})]
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "prod.py"
    path.write_text(INVENTORY)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service account's home, as provision leaves it: acme listens at 5599, not yet at its inventory's port."""
    place = tmp_path / "home" / layout.directory("acme")
    (place / "secrets").mkdir(parents=True)
    (place / "spec.json").write_text(json.dumps({**spec_file(ACME), "port": 5599}))
    (place / "secrets/app-v1").write_text(password_in("app-v1").reveal() + "\n")
    me = Identity("svc", os.geteuid(), os.getegid(), str(tmp_path / "home"))
    monkeypatch.setattr(Identity, "of", classmethod(lambda *_: me))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


Main = Callable[..., str]


@pytest.fixture
def run(inventory: Path, capsys: pytest.CaptureFixture[str]) -> Main:
    """The command with its arguments: what it prints."""

    def main(*arguments: str) -> str:
        local.main([*arguments, "--inventory", str(inventory)])
        return capsys.readouterr().out

    return main


def refusal(run: Main, *arguments: str) -> str:
    with pytest.raises(SystemExit) as refused:
        run(*arguments)
    assert isinstance(refused.value.code, str)  # printed on stderr, and exit code 1
    return refused.value.code


def test_a_url_leads_to_the_port_that_is_listened_at_and_holds_no_password(run: Main, home: Path) -> None:
    told = conninfo_to_dict(run("url", "--tenant", "acme").strip())
    assert told == {
        "host": "127.0.0.1",
        "port": "5599",
        "user": "memory_app_a",
        "dbname": "memory",
        "passfile": f"{home}/{layout.passfile('acme')}",
    }


def test_a_components_url_carries_its_search_path(run: Main, home: Path) -> None:
    told = conninfo_to_dict(run("url", "--tenant", "acme", "--component", "memory_plugin").strip())
    assert told["options"] == "-csearch_path=memory_plugin,public"


def test_the_password_is_shown_where_it_is_asked_for_by_name(run: Main, home: Path) -> None:
    told = conninfo_to_dict(run("url", "--tenant", "acme", "--show-password").strip())
    assert told["password"] == password_in("app-v1").reveal()
    assert "passfile" not in told


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("url",), "no tenant given\nHINT: TENANT=one of acme, globex"),
    (("psql",), "no tenant given"),
    (("logs", "--tenant", "initech"), "initech: no such tenant in "),
    (
        ("url", "--tenant", "acme", "--component", "knowledge"),
        "acme: it has no component 'knowledge'\nHINT: it has memory",
    ),
    (("url", "--tenant", "acme", "--component", "x; id"), "acme: it has no component 'x; id'"),
    (("url", "--tenant", "globex"), "globex: it is on machine db1.example.net"),
    (("psql", "--tenant", "globex"), "globex: it is on machine db1.example.net"),
    (("logs", "--tenant", "globex"), "globex: it is on machine db1.example.net"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED)
def test_what_cannot_be_told_is_refused_with_what_there_is(
    run: Main, home: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert refusal(run, *arguments).startswith(says)


def test_a_tenant_that_was_never_deployed_is_said_to_be_so(run: Main, home: Path) -> None:
    (home / layout.spec_file("acme")).unlink()
    said = refusal(run, "url", "--tenant", "acme")
    assert said.startswith(f"acme: ~svc/{layout.spec_file('acme')} cannot be read: ")
    assert "No such file or directory\nHINT: run make deploy first" in said


def test_a_file_that_leads_elsewhere_is_read_as_the_account_and_never_as_root(
    run: Main, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    real = subprocess.run

    def seen(*given: Any, **more: Any) -> Any:
        started.append(more)
        return real(*given, **more)

    monkeypatch.setattr(subprocess, "run", seen)
    run("url", "--tenant", "acme", "--show-password")
    me = Identity.of("svc")
    for how in started:
        assert how["env"] == me.environment()
        assert {name: how.get(name) for name in me.popen_arguments()} == me.popen_arguments()
    assert len(started) == 2


def test_an_account_that_was_never_made_is_said_to_be_so(run: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", dict[str, Any]().__getitem__)
    said = refusal(run, "url", "--tenant", "acme")
    assert said == "acme: account 'svc' does not exist on this machine\nHINT: run make deploy first"


def test_an_inventory_that_is_not_there_is_refused(home: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        local.main(["url", "--inventory", "nosuch.py", "--tenant", "acme"])
    assert str(refused.value.code).startswith("inventory nosuch.py is not a file\nHINT: ")


def test_a_bad_inventory_is_refused_with_every_problem(inventory: Path, run: Main) -> None:
    inventory.write_text(INVENTORY.replace("5501", "80"))
    assert refusal(run, "url", "--tenant", "acme").count("port 80 must be") == 2


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("tenant(", "tennant(", "name 'tennant' is not defined (did you mean 'tenant'?)"),
        ("tenant(", "tenant((", "closing parenthesis ']' does not match opening parenthesis '('"),
        ("from pgberth.inventory import", "raise ValueError('no') #", "no\nHINT: correct it; nothing was touched"),
    ],
)
def test_a_slip_in_the_inventory_is_told_with_its_line(
    inventory: Path, run: Main, right: str, wrong: str, says: str
) -> None:
    lines = INVENTORY.splitlines()
    place = next(number for number, line in enumerate(lines) if right in line)
    lines[place] = lines[place].replace(right, wrong, 1)
    inventory.write_text("\n".join(lines) + "\n")
    said = refusal(run, "url", "--tenant", "acme")
    assert said.startswith(f"{inventory.parent.name}/{inventory.name}:{place + 1}: ")
    assert says in said


def test_psql_is_the_images_own_as_the_app_and_its_password_is_a_file_in_memory(
    run: Main, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str], str]] = []

    def execute(_: str, command: list[str], environment: dict[str, str]) -> None:
        with open(3, closefd=False) as passfile:
            passfile.seek(0)
            started.append((command, environment, passfile.read()))

    monkeypatch.setattr(os, "execvpe", execute)
    kept = os.dup(3) if Path("/proc/self/fd/3").exists() else None
    try:
        run("psql", "--tenant", "acme", "--component", "memory_plugin")
    finally:
        if kept is not None:
            os.dup2(kept, 3)
            os.close(kept)
    ((command, environment, passfile),) = started
    assert command[:2] == ["podman", "exec"]
    assert command[command.index("acme") : -1] == ["acme", "psql", "-w", "-d"]
    told = conninfo_to_dict(command[-1])
    assert (
        told.items()
        >= {
            "host": "127.0.0.1",
            "user": "memory_app_a",
            "dbname": "memory",
            "passfile": "/proc/self/fd/3",
            "options": "-csearch_path=memory_plugin,public",
        }.items()
    )
    assert "--preserve-fds=1" in command
    assert passfile == f"127.0.0.1:5432:memory:memory_app_a:{password_in('app-v1').reveal()}\n"
    assert CANARY not in " ".join(command)
    assert CANARY not in str(environment)


def test_the_entrypoint_is_printed_for_the_tenants_components(run: Main) -> None:
    assert run("entrypoint", "--tenant", "acme") == entrypoint(["memory_plugin"])
    with_plugin = run("entrypoint", "--tenant", "acme", "--plugin", "/plugin 'a b'")
    assert with_plugin == entrypoint(["memory_plugin"], ["/plugin", "a b"])


def test_any_url_on_standard_input_is_given_the_path(run: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("postgresql://h/d?options=-cgeqo%3Doff\n"))
    desired = "postgresql://h/d?options=-cgeqo%3Doff%20-csearch_path%3Dknowledge%2Cpublic\n"
    assert run("inject", "--component", "knowledge") == desired
    monkeypatch.setattr("sys.stdin", io.StringIO("postgresql://h/d"))
    told = run("inject", "--component", "knowledge", "--dialect", "lib_pq")
    assert told == "postgresql://h/d?search_path=knowledge,public\n"


def test_a_url_that_cannot_take_the_path_is_refused(run: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("postgresql://u:hunter2@h/d?search_path=public"))
    said = refusal(run, "inject", "--component", "knowledge")
    assert said.startswith("the URL: its search_path is 'public', and knowledge needs 'knowledge,public'\nHINT: ")
    assert "COMPONENT: 'x' is not a component" in refusal(run, "inject", "--component", "x")


def test_a_plugin_that_cannot_be_is_refused(run: Main, inventory: Path) -> None:
    assert "PLUGIN: No closing quotation" in refusal(run, "entrypoint", "--tenant", "acme", "--plugin", "it's")
    inventory.write_text(INVENTORY.replace("memory_plugin", "knowledge"))
    said = refusal(run, "entrypoint", "--tenant", "acme", "--plugin", "/plugin")
    assert "acme: it has no component memory_plugin" in said


def test_logs_are_the_containers_whole_and_steer_no_terminal(
    inventory: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    podman = home / "podman"
    podman.write_bytes(
        b"#!/bin/sh\necho \"$*\"; cat >&2 <<'END'\nbell \x1b[2J\r\x07\ncaf\xc3\xa9\t\xc2\x9b\xff\nEND\nexit 3\n"
    )
    podman.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(podman))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        local.main(["logs", "--inventory", str(inventory), "--tenant", "acme"])
    assert ended.value.code == 3
    assert capsys.readouterr().out.splitlines() == [
        "logs --timestamps acme",
        "bell \\x1b[2J\\r\\x07",
        "caf\u00e9\t\\x9b\\xff",
    ]


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\r", "\x08", "\x7f", "\x9b31m", "\u202e", "\u2028", "\x00"])
def test_what_a_terminal_would_act_on_is_shown(hostile: str) -> None:
    shown = local.visible(f"before {hostile} after".encode())
    assert shown.isprintable()
    assert hostile not in shown
    assert shown.startswith("before \\")
    assert shown.endswith(" after")


@pytest.fixture
def data() -> list[str]:
    """The tenants whose volumes the account has."""
    return ["acme"]


@pytest.fixture
def removals(data: list[str], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is run instead of being run, while nothing fails."""
    ran: list[list[str]] = []

    def pretend(command: list[str], **_: Any) -> SimpleNamespace:
        if commands.script("machine/list-data.sh") in command:
            return SimpleNamespace(returncode=0, stdout="\n".join(data))
        ran.append(command)
        return SimpleNamespace(returncode=0, stdout="")

    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/podman")
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: ran.append(["rmtree", path]))
    monkeypatch.setattr(clean, "_created_by_us", lambda _: False)
    return ran


def test_cleaning_asks_first_and_names_whose_data_goes(
    run: Main, home: Path, removals: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    said = run("clean")
    assert "deletes the data of acme, globex: everything that svc has, permanently" in said
    assert [command[0] for command in removals] == ["/bin/sh"]


def test_cleaning_names_whoever_else_would_lose_data_too(
    run: Main, home: Path, data: list[str], removals: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data += ["umbrella", "wayne"]
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert "of acme, globex, and of umbrella, wayne, which the inventory does not name: everything" in run("clean")
    assert len(removals) == 1


def test_unasked_nobody_loses_data_whom_the_inventory_does_not_name(
    inventory: Path, run: Main, home: Path, data: list[str], removals: list[list[str]]
) -> None:
    data += ["umbrella", "wayne"]
    said = refusal(run, "clean", "--yes")
    for stranger in ("umbrella", "wayne"):
        assert (
            f"svc: tenant {stranger} has data here, and {inventory} does not name it\nHINT: nothing was removed" in said
        )
    assert "acme" not in said
    assert removals == []


def test_where_podman_does_not_tell_whose_data_there_is_nothing_is_removed(
    run: Main, home: Path, removals: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stdout=""))
    said = refusal(run, "clean", "--yes")
    assert "svc: its volumes cannot be listed\nHINT: nothing was removed" in said
    assert removals == []


@pytest.mark.parametrize("answer", ["", "y", "no", "YES"])
def test_any_other_answer_than_yes_removes_nothing(
    run: Main, home: Path, removals: list[list[str]], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert refusal(run, "clean") == "nothing was removed"
    assert removals == []


def test_where_nobody_can_be_asked_nothing_is_removed(
    run: Main, home: Path, removals: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    assert refusal(run, "clean") == "nothing was removed"
    assert removals == []


def test_cleaning_touches_this_machine_only(inventory: Path, run: Main, home: Path, removals: list[list[str]]) -> None:
    inventory.write_text(INVENTORY.replace('machine("@local", account="svc")', 'machine("db2.example.net")'))
    assert "this machine is not in it\nHINT: nothing was removed" in refusal(run, "clean", "--yes")
    assert removals == []


def test_an_account_is_removed_only_where_it_was_created_by_us(
    run: Main, home: Path, removals: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    run("clean", "--yes")
    assert [command[0] for command in removals] == ["/bin/sh"]
    monkeypatch.setattr(clean, "_created_by_us", lambda _: True)
    assert "removed: account svc" in run("clean", "--yes")
    assert [command[0] for command in removals[1:]] == ["/bin/sh", "pkill", "loginctl", "userdel", "rmtree"]


@pytest.mark.parametrize(("gecos", "ours"), [("pgberth tenants", True), ("pgberth tenants,,,", True), ("", False)])
def test_an_account_created_by_us_says_so(monkeypatch: pytest.MonkeyPatch, gecos: str, ours: bool) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _: SimpleNamespace(pw_gecos=gecos))
    assert clean._created_by_us("svc") is ours


@pytest.fixture
def account(tmp_path: Path) -> FakePrograms:
    """A home with a tenant's files and unrelated files, beside a podman that only pretends."""
    made = FakePrograms(tmp_path / "account")
    (made.home / layout.directory("acme") / "secrets").mkdir(parents=True)
    (made.home / ".local/share/other").mkdir()
    return made


REMOVE = (commands.script("machine/remove-everything.sh"), *clean.REMOVE_EVERYTHING[1:])


def test_only_what_carries_our_labels_or_our_names_is_removed(account: FakePrograms) -> None:
    account.answer("podman", ("ps *", "c1\nc2", 0), ("volume ls *", "acme-data-g1", 0), ("image ls *", "i1\ni1", 0))
    assert account.run(*REMOVE).returncode == 0
    lists = [call for call in account.asked() if "--filter" in call]
    assert [call[call.index("--filter") + 1] for call in lists] == [
        "label=pgberth.tenant",
        "label=pgberth.tenant",
        "label=pgberth.recipe",
        "reference=localhost/pgberth-archive",
        "reference=localhost/pgberth-registry",
    ]
    assert ["rm", "--force", "--time", "10", "c1", "c2"] in account.asked()
    assert ["volume", "rm", "--force", "acme-data-g1"] in account.asked()
    assert ["image", "rm", "--force", "i1"] in account.asked()
    assert not (account.home / layout.HOME).exists()
    assert (account.home / ".local/share/other").exists()


def test_nothing_there_is_nothing_to_remove(account: FakePrograms) -> None:
    account.answer("podman", ("*", "", 0))
    assert account.run(*REMOVE).returncode == 0
    assert not [call for call in account.asked() if "rm" in call]


def test_secrets_are_kept_where_a_volume_could_not_be_removed(account: FakePrograms) -> None:
    account.answer("podman", ("volume ls *", "acme-data-g1", 0), ("volume rm *", "", 2), ("*", "", 0))
    assert account.run(*REMOVE).returncode != 0
    assert (account.home / layout.directory("acme") / "secrets").exists()


def test_the_commands_are_there_for_the_makefile() -> None:
    done = subprocess.run([sys.executable, "-m", "pgberth.cli", "--help"], capture_output=True, check=True)
    assert b"{clean,entrypoint,inject,logs,psql,url}" in done.stdout
