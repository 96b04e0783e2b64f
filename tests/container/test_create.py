"""A new tenant by one command: only where the machine has nothing of it, and no step runs after one that failed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.connectors.channel import line_for_login
from pgberth.container import create
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.model.listen import Listen
from pgberth.model.secret import Secret
from pgberth.model.spec_file import SpecFile
from pgberth.model.tenant import Tenant
from tests.fake_host import FakeHost, Sent, sent
from tests.sample import ABSENT, ACME, container, spec_of, state

NEW = state(**ABSENT, volumes=())


def do(observed: TenantState | None, tenant: Tenant = ACME, **options: Any) -> list[Sent]:
    host = FakeHost(facts={TenantObservation: lambda **_: observed})
    return sent(create.tenant_created, host, context=TenantContext(tenant, "SELECT 1", **options))


def test_a_tenant_of_which_there_is_nothing_takes_one_command_under_its_lock() -> None:
    (command,) = do(NEW)
    assert command.under_command_lock
    order = ["superuser-v1", "podman volume create", 'head -c "$word"', "the server did not answer"]
    places = [command.script.index(part) for part in order]
    assert places == sorted(places)


def test_the_spec_file_it_leaves_is_the_one_that_the_later_operations_want() -> None:
    (command,) = do(NEW)
    text = command.stdin[command.stdin.index('{\n  "generation"') :]
    spec = SpecFile.parse(text[: text.index("\n}\n") + 3])
    assert (spec.generation, spec.port, spec.hash) == (1, ACME.port, spec_of().hash)
    assert spec.secret_names["app"] == "app-v1"


@pytest.mark.parametrize(
    "observed",
    [
        None,
        replace(NEW, machine_profile=None),
        replace(NEW, volumes=None),
        replace(NEW, secrets=frozenset({"app-v1"})),
        replace(NEW, spec=state().spec),
        replace(NEW, container=container()),
        replace(NEW, unknown="podman hangs"),
        state(),
    ],
    ids=["unknown machine", "not ready", "a volume", "a secret", "a spec file", "a container", "podman hangs", "runs"],
)
def test_where_there_is_anything_of_it_the_other_operations_do_the_work(observed: TenantState | None) -> None:
    assert do(observed) == []


def test_a_tenant_that_listens_beyond_loopback_waits_for_its_certificate() -> None:
    assert do(NEW, replace(ACME, listen=Listen("10.0.0.5"))) == []


def test_its_line_leaves_room_below_the_longest_argument_that_linux_takes() -> None:
    (command,) = do(NEW)
    account = commands.as_account("pgberth", StringCommand(command.text))
    assert len(line_for_login(account, _sudo=True)) < 96 * 1024


def test_a_password_from_elsewhere_travels_on_stdin_alone() -> None:
    password = Secret("external-Zq7-password")
    (command,) = do(NEW, passwords={"app": password})
    assert password.reveal() not in command.text
    assert f"{password.reveal()}\n" in command.stdin
    (words,) = (
        line.split() for line in command.script.splitlines() if line.startswith("set -- ") and "superuser-v1" in line
    )
    assert "app-v1" not in words
    assert {"superuser-v1", "migrator-v1", "monitor-v1"} <= set(words)


def test_an_image_that_is_not_there_is_refused_before_anything_is_made() -> None:
    (refused,) = do(replace(NEW, machine_profile=replace(NEW.machine_profile, images={})))  # type: ignore[type-var]
    assert refused.refusal.startswith("acme: image ")


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
@pytest.mark.parametrize(
    ("failing", "code"), [("false; touch after", 1), ("exit 7", 7), ("unset x; : $x; touch after", 2)]
)
def test_a_step_that_fails_ends_the_command_with_its_code(
    failing: str, code: int, shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "body", lambda name: f"set -eu\n{'touch before' if name == 'first' else failing}\n")
    text = create._step("first", []) + create._step("second", ["a b"]) + "touch after\n"
    done = subprocess.run([shell, "-c", text], cwd=tmp_path, check=False, capture_output=True)
    assert done.returncode == (code if code != 2 else done.returncode) != 0
    assert [path.name for path in tmp_path.iterdir()] == ["before"]


def test_each_step_gets_its_own_arguments_and_what_is_left_of_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {"fed": 'cat > fed; printf "%s|" "$@" >> fed', "silent": "cat > silent", "reads": "head -c 4 > reads"}
    monkeypatch.setattr(commands, "body", lambda name: f"set -eu\n{scripts[name]}\n")
    text = (
        create._step("silent", [], "</dev/null")
        + create._step("fed", ["a b", "$HOME'"], feed="printf '%s' text |")
        + create._step("reads", [])
        + "cat > rest\n"
    )
    subprocess.run(["sh", "-c", text], cwd=tmp_path, check=True, input="1234567", text=True)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"silent": "", "fed": "texta b|$HOME'|", "reads": "1234", "rest": "567"}
