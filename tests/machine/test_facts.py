"""What the service account is asked, how it is asked, and what its answers mean."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError, PyinfraError

from pgberth.container import units
from pgberth.machine import facts
from pgberth.machine.facts import (
    AccountFacts,
    AccountObservation,
    InstalledTenants,
    MachineContext,
    MachineObservation,
    MachineProfile,
    as_account,
)
from pgberth.machine.preparation import MachineFacts
from pgberth.model import layout
from pgberth.model.image import REGISTRY_TAG
from pgberth.model.tenant import Machine
from tests.fake_host import as_sent
from tests.fake_podman import FakePrograms
from tests.machine.states import READY_AS_ROOT, READY_AS_USER
from tests.sample import IMAGE, READY, TAG, spec_of


def here(home: Path) -> MachineFacts:
    """An account on this machine: another one where the tests run as root, the caller's own otherwise."""
    uid = "65534" if os.geteuid() == 0 else str(os.geteuid())
    return replace(READY_AS_USER, root=os.geteuid() == 0, uid=uid, home=str(home))


def run_as_account(home: Path, text: str, *arguments: str, uid: str = "") -> str:
    """What the script prints, on a machine that knows the account `ada` and notes when an identity is changed."""
    account = here(home)
    uid = uid or account.uid
    tools = home / "tools"
    tools.mkdir()
    for name, script in {
        "getent": f'[ "$*" = "passwd ada" ] && echo "ada:x:{uid}:{uid}::{home}:/bin/sh"',
        "setpriv": f'echo "$*" > {home}/setpriv; exec {shutil.which("setpriv")} "$@"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    command = as_account(account, text, *arguments, timeout=10).get_raw_value()
    path = f"{tools}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, "PATH": path, "PGPASSWORD": "hunter2", "DOCKER_HOST": "tcp://elsewhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_accounts_commands_run_as_it_in_its_home_and_closed_to_others(tmp_path: Path) -> None:
    # `pwd -P` would climb up through directories that the account may not enter.
    assert run_as_account(tmp_path, "id -u; echo $PWD; umask").split() == [here(tmp_path).uid, str(tmp_path), "0077"]


def test_the_accounts_commands_see_nothing_of_the_callers_environment(tmp_path: Path) -> None:
    seen = dict(line.split("=", 1) for line in run_as_account(tmp_path, "env").splitlines())
    assert set(seen) - {"PWD", "OLDPWD", "SHLVL", "_"} == {"HOME", "USER", "LOGNAME", "LANG", "PATH", "XDG_RUNTIME_DIR"}
    assert (seen["HOME"], seen["USER"]) == (str(tmp_path), "ada")
    assert seen["XDG_RUNTIME_DIR"] == f"/run/user/{here(tmp_path).uid}"


def test_the_account_itself_changes_no_identity(tmp_path: Path) -> None:
    me = str(os.geteuid())
    assert run_as_account(tmp_path, "id -u", uid=me).strip() == me
    assert not (tmp_path / "setpriv").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
def test_root_becomes_the_account_with_its_groups(tmp_path: Path) -> None:
    assert run_as_account(tmp_path, "id -u").strip() == here(tmp_path).uid
    switch = "--reuid=65534 --regid=65534 --init-groups env -i "
    assert (tmp_path / "setpriv").read_text().startswith(switch)


def test_what_was_found_out_comes_back_from_its_file_as_it_was() -> None:
    assert MachineProfile.from_json(READY.to_json()) == READY
    assert READY.to_json().endswith("}\n")


BODY = json.loads(READY.to_json())
SPOILT = {
    "empty": "",
    "half": READY.to_json()[:100],
    "not JSON": "runtime=crun",
    "null": "null",
    "a number": "5",
    "a list": "[]",
    "an empty object": "{}",
    "a field less": json.dumps({key: value for key, value in BODY.items() if key != "driver"}),
    "a field more": json.dumps({**BODY, "network": "pasta"}),
    "images as a list": json.dumps({**BODY, "images": [1]}),
    "an image of another version": json.dumps({**BODY, "images": {TAG: {"id": "sha256:1"}}}),
    "an image as text": json.dumps({**BODY, "images": {TAG: "sha256:1"}}),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_of_another_version_or_half_a_file_counts_as_none(how: str) -> None:
    assert MachineProfile.from_json(SPOILT[how]) is None


LABELS = {
    "pgberth.uid": "101",
    "pgberth.gid": "101",
    "pgberth.bindir": IMAGE.bindir,
    "pgberth.postgres": IMAGE.postgres,
    "pgberth.pgvector": IMAGE.pgvector,
    "pgberth.recipe": IMAGE.recipe,
}


def listed(tag: str, labels: object) -> str:
    return json.dumps({"tag": tag, "id": IMAGE.id, "labels": labels})


def test_the_accounts_images_and_its_file_are_read_from_one_answer() -> None:
    found = AccountObservation().process([listed(TAG, LABELS), READY.to_json().replace("\n", " ")])
    assert found == AccountFacts({TAG: IMAGE}, READY)


@pytest.mark.parametrize("labels", [None, {}, {"maintainer": "somebody"}])
def test_an_image_under_our_tag_that_is_not_ours_is_not_known_yet(labels: object) -> None:
    assert AccountObservation().process([listed(TAG, labels)]) == AccountFacts({}, None, {TAG: IMAGE.id})


REMOTE = f"{REGISTRY_TAG}postgres-18-0a"
DIGESTS = {"digest": "sha256:0a", "digests": [f"localhost/x@sha256:{digest}" for digest in ("0a", "0b")]}


def test_an_image_of_a_registry_is_known_by_every_digest_that_led_to_it() -> None:
    line = json.dumps({**json.loads(listed(REMOTE, LABELS)), **DIGESTS})
    found = AccountObservation().process([line])
    assert found.digests == {REMOTE: ("sha256:0a", "sha256:0b")}
    assert (found.images[REMOTE].digest, found.digest_of(REMOTE)) == ("sha256:0a", "sha256:0a")


def test_an_image_that_was_built_has_no_digest_to_count_on() -> None:
    found = AccountObservation().process([json.dumps({**json.loads(listed(TAG, LABELS)), **DIGESTS})])
    assert (found.digests, found.images[TAG].digest) == ({}, "")


def test_a_recorded_digest_outlives_its_image() -> None:
    machine_profile = replace(READY, images={REMOTE: replace(IMAGE, digest="sha256:0a")})
    found = AccountObservation().process([machine_profile.to_json().replace("\n", " ")])
    assert (found.id_of(REMOTE), found.digest_of(REMOTE), found.digest_of(TAG)) == ("", "sha256:0a", "")


def test_an_account_with_nothing_has_nothing() -> None:
    assert AccountObservation().process([]) == AccountObservation.default() == AccountFacts({}, None)


def test_a_podman_whose_processes_are_all_gone_is_told_from_one_without_the_image() -> None:
    refuses = 'level=error msg="invalid internal status, try ...: could not find any running process: no such process"'
    assert AccountObservation().process([f'time="2026-11-30T10:00:00Z" {refuses}']).orphaned
    assert not AccountObservation().process([f"Error: {TAG}: image not known"]).orphaned


def test_the_account_is_asked_for_each_tag() -> None:
    asked = as_sent(AccountObservation().command(facts=READY_AS_ROOT, tags=(TAG, "localhost/other:1")))
    assert asked.arguments == [layout.MACHINE_FILE, TAG, "localhost/other:1"]


def test_what_an_account_carries_is_told_by_tenant() -> None:
    lines = ["acme container", "acme volume:acme-data-g1", "acme directory", "gone volume:gone-data-g2"]
    assert InstalledTenants().process(lines) == {
        "acme": {"container", "volume:acme-data-g1", "directory"},
        "gone": {"volume:gone-data-g2"},
    }
    assert InstalledTenants().process([]) == {}
    assert InstalledTenants.default() is None  # unknown is not nothing


def listing(home: Path) -> list[str]:
    """The script that lists what the account has, and its arguments."""
    asked = as_sent(InstalledTenants().command(facts=here(home)))
    return [asked.script, *asked.arguments]


def test_containers_volumes_and_directories_are_what_a_machine_carries(tmp_path: Path) -> None:
    machine = FakePrograms(tmp_path)
    machine.answer("podman", ("ps*", "acme container", 0), ("volume*", "acme volume:acme-data-g1", 0))
    (tmp_path / ".local/share/pgberth/tenants/globex/secrets").mkdir(parents=True)
    done = machine.run(*listing(tmp_path))
    assert InstalledTenants().process(done.stdout.splitlines()) == {
        "acme": {"container", "volume:acme-data-g1"},
        "globex": {"directory"},
    }
    assert all("label=pgberth.tenant" in call for call in machine.asked())


@pytest.mark.parametrize("fact", [InstalledTenants().command, partial(AccountObservation().command, tags=("some",))])
def test_a_podman_that_nobody_has_configured_is_not_asked(tmp_path: Path, fact: Callable[..., StringCommand]) -> None:
    machine = FakePrograms(tmp_path)
    machine.answer("podman")
    asked = as_sent(fact(facts=here(tmp_path)))
    (tmp_path / ".local/share/containers").rmdir()
    done = machine.run(asked.script, *asked.arguments)
    assert (done.returncode, done.stdout, machine.asked()) == (0, "", [])
    configuration = tmp_path / ".config/containers/storage.conf"
    configuration.parent.mkdir(parents=True)
    configuration.touch()
    machine.run(asked.script, *asked.arguments)
    assert machine.asked() != []


def test_units_of_ours_are_carried_and_other_peoples_are_not(tmp_path: Path) -> None:
    machine = FakePrograms(tmp_path)
    machine.answer("podman")
    for path, text in {
        f"{layout.QUADLETS}/{layout.unit('acme')}.container": units.quadlet(spec_of()),
        f"{layout.UNITS}/{layout.unit('globex')}.service": units.plain(spec_of()),
        f"{layout.QUADLETS}/pgberth-web.container": "[Container]\n",
        f"{layout.UNITS}/backup.service": "# Written by pgberth\n",
    }.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done = machine.run(*listing(tmp_path))
    assert InstalledTenants().process(done.stdout.splitlines()) == {
        "acme": {"unit:pgberth-acme.container"},
        "globex": {"unit:pgberth-globex.service"},
    }


def test_a_machine_without_podman_carries_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tmp_path / "bin"
    plain.mkdir()
    for tool in ("sh", "basename", "grep"):
        (plain / tool).symlink_to(Path(shutil.which(tool) or ""))
    monkeypatch.setenv("PATH", str(plain))
    done = FakePrograms(tmp_path).run(*listing(tmp_path))
    assert (done.returncode, done.stdout.split()) == (0, [])


@pytest.mark.parametrize("what", ["ps", "volume"])
def test_a_podman_that_cannot_tell_is_not_taken_for_one_that_has_nothing(tmp_path: Path, what: str) -> None:
    machine = FakePrograms(tmp_path)
    machine.answer("podman", (f"{what}*", "", 125))
    assert machine.run(*listing(tmp_path)).returncode == 1


@given(
    st.lists(st.text() | st.sampled_from(['{"tag": 1}', '{"tag": "x", "id": "y"}', '{"tag"', "root=yes", "free_kib=x"]))
)
def test_an_answer_of_any_kind_fails_its_own_host_at_most(lines: list[str]) -> None:
    # Any other exception than this one would end the run for every host.
    for fact in (MachineObservation(), AccountObservation(), InstalledTenants()):
        try:
            fact.process(lines)
        except FactProcessError as refused:
            assert "unexpected answer" in str(refused)


def test_a_machine_that_could_not_be_asked_is_not_taken_for_an_empty_one() -> None:
    assert MachineObservation.default() is None


def test_the_last_machine_of_a_run_that_cannot_be_asked_is_no_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_fact(*_: object, **__: object) -> None:
        raise PyinfraError("No hosts remaining!")

    monkeypatch.setattr(facts, "host", SimpleNamespace(get_fact=get_fact))
    context = MachineContext(Machine("db1"))
    assert context.facts() is None
    context._facts = READY_AS_ROOT
    assert context.account() == AccountObservation.default()
