"""What the service account is asked, how it is asked, and what its answers mean."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError

from pgberth.machine.facts import AccountFacts, AccountState, Carried, MachineState, Ready, as_account
from pgberth.machine.preparation import MachineFacts
from tests.fake_host import as_sent
from tests.fake_podman import FakePrograms
from tests.machine.states import READY_AS_ROOT, READY_AS_USER
from tests.sample import IMAGE, READY, TAG


def here(home: Path) -> MachineFacts:
    """An account on this machine: another one where the tests run as root, the caller's own otherwise."""
    uid = "65534" if os.geteuid() == 0 else str(os.geteuid())
    return replace(READY_AS_USER, root=os.geteuid() == 0, uid=uid, home=str(home))


def run_as_account(home: Path, text: str, *arguments: str) -> str:
    command = as_account(here(home), text, *arguments, timeout=10).get_raw_value()
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, "PGPASSWORD": "hunter2", "DOCKER_HOST": "tcp://elsewhere"},
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


def test_a_plain_user_changes_no_identity() -> None:
    assert "setpriv" not in as_account(READY_AS_USER, "true", timeout=5).get_raw_value()
    assert "setpriv --reuid=1003" in as_account(READY_AS_ROOT, "true", timeout=5).get_raw_value()


def test_what_was_found_out_comes_back_from_its_file_as_it_was() -> None:
    assert Ready.from_json(READY.to_json()) == READY
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
    assert Ready.from_json(SPOILT[how]) is None


LABELS = {
    "pgberth.uid": "101",
    "pgberth.gid": "101",
    "pgberth.bindir": IMAGE.bindir,
    "pgberth.postgres": IMAGE.postgres,
    "pgberth.pgvector": IMAGE.pgvector,
    "pgberth.recipe": IMAGE.recipe,
}


def told(tag: str, labels: object) -> str:
    return json.dumps({"tag": tag, "id": IMAGE.id, "labels": labels})


def test_the_accounts_images_and_its_file_are_read_from_one_answer() -> None:
    found = AccountState().process([told(TAG, LABELS), READY.to_json().replace("\n", " ")])
    assert found == AccountFacts({TAG: IMAGE}, READY)


@pytest.mark.parametrize("labels", [None, {}, {"maintainer": "somebody"}])
def test_an_image_under_our_tag_that_is_not_ours_counts_as_none(labels: object) -> None:
    assert AccountState().process([told(TAG, labels)]) == AccountFacts({}, None)


def test_an_account_with_nothing_has_nothing() -> None:
    assert AccountState().process([]) == AccountState.default() == AccountFacts({}, None)


def test_the_account_is_asked_for_each_tag() -> None:
    asked = as_sent(AccountState().command(facts=READY_AS_ROOT, tags=(TAG, "localhost/other:1")))
    assert asked.arguments == [TAG, "localhost/other:1"]


def test_what_an_account_carries_is_told_by_tenant() -> None:
    lines = ["acme container", "acme volume:acme-data-g1", "acme directory", "gone volume:gone-data-g2"]
    assert Carried().process(lines) == {
        "acme": {"container", "volume:acme-data-g1", "directory"},
        "gone": {"volume:gone-data-g2"},
    }
    assert Carried().process([]) == Carried.default() == {}


def test_containers_volumes_and_directories_are_what_a_machine_carries(tmp_path: Path) -> None:
    machine = FakePrograms(tmp_path)
    machine.answer("podman", ("ps*", "acme container", 0), ("volume*", "acme volume:acme-data-g1", 0))
    (tmp_path / ".local/share/pgberth/tenants/globex/secrets").mkdir(parents=True)
    done = machine.run(as_sent(Carried().command(facts=here(tmp_path))).script)
    assert Carried().process(done.stdout.splitlines()) == {
        "acme": {"container", "volume:acme-data-g1"},
        "globex": {"directory"},
    }
    assert all("label=pgberth.tenant" in call for call in machine.asked())


def test_a_machine_without_podman_carries_nothing(tmp_path: Path) -> None:
    machine = FakePrograms(tmp_path)
    machine.answer("podman", ("*", "", 127))
    done = machine.run(as_sent(Carried().command(facts=here(tmp_path))).script)
    assert (done.returncode, done.stdout.split()) == (0, [])


@given(
    st.lists(st.text() | st.sampled_from(['{"tag": 1}', '{"tag": "x", "id": "y"}', '{"tag"', "root=yes", "free_kib=x"]))
)
def test_an_answer_of_any_kind_fails_its_own_host_at_most(lines: list[str]) -> None:
    # Any other exception than this one would end the run for every host.
    for fact in (MachineState(), AccountState(), Carried()):
        try:
            fact.process(lines)
        except FactProcessError as refused:
            assert "unexpected answer" in str(refused)


def test_a_machine_that_could_not_be_asked_is_not_taken_for_an_empty_one() -> None:
    assert MachineState.default() is None
