"""Verbs of a machine: what they send, and that they send nothing where nothing is to be done."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import operation

from pgberth import commands
from pgberth.machine import operations
from pgberth.machine.facts import AccountFacts, AccountObservation, MachineContext, MachineObservation, MachineProfile
from pgberth.machine.operations import containers_conf
from pgberth.machine.preparation import MachineFacts, steps
from pgberth.model import layout
from pgberth.model.image import Image
from pgberth.model.problems import Problem
from pgberth.model.tenant import Machine
from tests.fake_host import Answer, FakeHost, Sent, sent
from tests.fake_podman import FakePrograms
from tests.machine.states import (
    FRESH,
    NOT_CONFIGURED,
    READY_AS_ROOT,
    READY_AS_USER,
    READY_WITH_SYSTEMD,
    USER_WITHOUT_PODMAN,
)
from tests.sample import IMAGE, READY, TAG

HAS_ALL = AccountFacts({TAG: IMAGE}, READY)
PROBED = Answer("runtime=runc\npodman=4.3.1\ndriver=overlay\ncontrollers=[]")


def context() -> MachineContext:
    return MachineContext(Machine("@local"), [Image()])


def machine(*facts: MachineFacts | None, account: AccountFacts | None = None, **more: Any) -> FakeHost:
    """A machine that has these facts, one after another at each look; the last stays."""
    coming: Iterator[MachineFacts | None] = iter(facts)
    last: list[MachineFacts | None] = []

    def observe(**_: Any) -> MachineFacts | None:
        last[:] = [next(coming, last[0] if last else None)]
        return last[0]

    return FakeHost(facts={MachineObservation: observe, AccountObservation: account or AccountFacts({}, None)}, **more)


PREPARATION = [f"{step.preliminary} {step.command}".strip() for step in steps(FRESH)]


def test_a_fresh_machine_is_prepared_by_root_and_then_its_account_is_configured() -> None:
    host = machine(FRESH, NOT_CONFIGURED)
    made = sent(operations.prepare_machine, host, context=context())
    assert [command.text for command in made[:-1]] == PREPARATION
    assert made[-1].arguments == [containers_conf(systemd=False)]
    assert made[-1].account == READY_AS_ROOT.account


@pytest.mark.parametrize("facts", [READY_AS_ROOT, READY_WITH_SYSTEMD, READY_AS_USER])
def test_a_ready_machine_is_left_alone(facts: MachineFacts) -> None:
    assert sent(operations.prepare_machine, machine(facts), context=context()) == []


def test_a_podman_that_counts_on_processes_that_are_gone_is_made_to_forget_them() -> None:
    host = machine(READY_AS_ROOT, account=AccountFacts({}, None, orphaned=True))
    (command,) = sent(operations.recover_podman, host, context=context())
    assert (command.script, command.account) == ("podman system migrate", READY_AS_ROOT.account)
    assert sent(operations.recover_podman, machine(READY_AS_ROOT), context=context()) == []


def test_a_plain_users_own_configuration_is_never_looked_at_nor_written() -> None:
    host = machine(replace(READY_AS_USER, configured=False))
    assert sent(operations.prepare_machine, host, context=context()) == []
    assert host.asked == []


def obstacles(*facts: MachineFacts | None) -> list[Problem]:
    """What stands in the way on a machine with these facts, which is only looked at."""
    found: list[Problem] = []

    @operation()
    def looking() -> commands.Commands:
        found.extend(operations.obstacles(context()))
        yield from ()

    host = machine(*facts)
    assert sent(looking, host) == host.asked == []
    return found


def test_a_plain_user_without_podman_is_told_every_command_and_nothing_is_touched() -> None:
    (only,) = obstacles(USER_WITHOUT_PODMAN)
    told = only.hint.splitlines()
    assert [line.strip() for line in told if line.startswith("  ")] == [
        step.command for step in steps(USER_WITHOUT_PODMAN)
    ]
    assert "ada" in only.fact
    assert told[-1] == "then run the deploy again; nothing was touched"
    assert sent(operations.prepare_machine, machine(USER_WITHOUT_PODMAN), context=context()) == []


def test_what_nobody_can_mend_is_told_beside_what_an_administrator_can() -> None:
    hopeless = replace(USER_WITHOUT_PODMAN, free_kib=1, free_inodes=1)
    disk, inodes, missing = obstacles(hopeless)
    assert "@local: 0 MiB free" in disk.fact
    assert "@local: 1 inodes free" in inodes.fact
    assert steps(hopeless)[0].command in missing.hint


def test_what_root_will_make_is_no_obstacle() -> None:
    assert obstacles(FRESH) == []
    assert obstacles(READY_AS_ROOT) == obstacles(READY_AS_USER) == []


def test_a_machine_that_could_not_be_asked_is_an_obstacle_and_is_not_prepared() -> None:
    (only,) = obstacles(None)
    assert only.fact == "@local: the machine's facts could not be read"
    assert sent(operations.prepare_machine, machine(None), context=context()) == []


def test_a_podman_that_only_its_installation_showed_to_be_too_old_is_refused_before_anything_is_built_on_it() -> None:
    made = sent(operations.prepare_machine, machine(FRESH, replace(READY_AS_ROOT, podman="3.0.1")), context=context())
    assert made[-1].refusal.startswith("@local: podman 3.0.1 is below 4.3\nHINT: ")
    assert [command.text for command in made[:-1]] == PREPARATION


def configure_script(systemd: bool) -> Sent:
    facts = replace(NOT_CONFIGURED, systemd=systemd, linger=systemd)
    (command,) = sent(operations.prepare_machine, machine(facts), context=context())
    assert isinstance(command, Sent)
    return command


def test_the_accounts_configuration_is_written_once(tmp_path: Path) -> None:
    account, command = FakePrograms(tmp_path), configure_script(systemd=False)
    assert account.run(command.script, *command.arguments).returncode == 0
    place = tmp_path / ".config/containers"
    assert (place / "storage.conf").read_text() == '[storage]\ndriver = "overlay"\n'
    assert (place / "containers.conf").read_text() == containers_conf(systemd=False)


def test_a_configuration_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    place = tmp_path / ".config/containers"
    account, command = FakePrograms(tmp_path), configure_script(systemd=True)
    place.mkdir(parents=True)
    (place / "storage.conf").write_text("own")
    assert account.run(command.script, *command.arguments).returncode == 0
    assert (place / "storage.conf").read_text() == "own"
    assert (place / "containers.conf").read_text() == containers_conf(systemd=True)


@pytest.mark.parametrize(
    ("systemd", "runtime", "desired"),
    [
        (True, "", "[engine]\n"),
        (True, "crun", '[engine]\nruntime = "crun"\n'),
        (False, "", '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'),
        (False, "runc", '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'),
    ],
)
def test_podman_is_told_of_systemd_only_where_it_runs(systemd: bool, runtime: str, desired: str) -> None:
    assert containers_conf(systemd, runtime) == desired


@pytest.mark.parametrize("facts", [None, FRESH])
def test_nothing_is_tried_where_there_is_no_account(facts: MachineFacts | None) -> None:
    host = machine(facts)
    assert sent(operations.choose_runtime, host, context=context()) == []
    assert host.asked == []


def test_a_runtime_is_not_tried_again_while_podman_and_the_images_stay() -> None:
    host = machine(READY_AS_ROOT, account=HAS_ALL)
    assert sent(operations.choose_runtime, host, context=context()) == []
    assert host.asked == []


CHANGED = {
    "never tried": (READY_AS_ROOT, AccountFacts({TAG: IMAGE}, None)),
    "another podman": (replace(READY_AS_ROOT, podman="5.4.2"), HAS_ALL),
    "another image": (READY_AS_ROOT, AccountFacts({TAG: replace(IMAGE, id="sha256:new")}, READY)),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_runtime_is_tried_and_recorded_when_something_changed(what: str) -> None:
    facts, account = CHANGED[what]
    host = machine(facts, account=account, answers=[("--rm --pull=never", PROBED)])
    (record,) = sent(operations.choose_runtime, host, context=context())
    image = account.images[TAG]
    assert host.asked[0].arguments == [image.id, "101", "101"]
    path, text, configuration = record.arguments
    assert path == layout.MACHINE_FILE
    assert MachineProfile.from_json(text) == MachineProfile(
        facts.podman, "runc", "overlay", False, facts.home, account.images
    )
    assert configuration == containers_conf(facts.systemd, "runc")


@pytest.mark.parametrize(
    ("controllers", "limits"),
    [("[cpu memory pids]", True), ("[memory pids]", True), ("[]", False), ("[cpu pids]", False), ("[memory]", False)],
)
def test_limits_are_counted_on_only_where_both_controllers_are_the_accounts(controllers: str, limits: bool) -> None:
    probed = Answer(f"runtime=\npodman=4.3.1\ndriver=overlay\ncontrollers={controllers}")
    host = machine(READY_AS_ROOT, account=AccountFacts({TAG: IMAGE}, None), answers=[("--rm --pull=never", probed)])
    (record,) = sent(operations.choose_runtime, host, context=context())
    machine_profile = MachineProfile.from_json(record.arguments[1])
    assert machine_profile is not None
    assert machine_profile.limits is limits
    assert machine_profile.runtime == ""


def test_an_image_that_is_missing_is_refused_and_no_container_is_tried() -> None:
    host = machine(READY_AS_ROOT)
    (only,) = sent(operations.choose_runtime, host, context=context())
    assert only.refusal.startswith(f"@local: image {TAG} is not there\nHINT: ")
    assert host.asked == []


def test_where_no_runtime_works_each_ones_own_words_are_shown() -> None:
    refused = Answer(stderr="crun: no cgroup\nrunc: no cgroup either", done=False)
    host = machine(READY_AS_ROOT, account=AccountFacts({TAG: IMAGE}, None), answers=[("--rm --pull=never", refused)])
    (only,) = sent(operations.choose_runtime, host, context=context())
    assert "crun: no cgroup\nrunc: no cgroup either" in only.refusal
    assert "HINT: runbooks/no-runtime-works.md" in only.refusal


def test_a_plain_user_is_asked_to_choose_the_runtime_himself_where_systemd_runs_the_containers() -> None:
    account = AccountFacts({TAG: IMAGE}, None)
    probed = Answer("runtime=runc\nuser_systemd=yes\npodman=5.4.2\ndriver=overlay\ncontrollers=[]")
    host = machine(READY_AS_USER, account=account, answers=[("--rm --pull=never", probed)])
    (only,) = sent(operations.choose_runtime, host, context=context())
    assert "only the OCI runtime runc works for ada" in only.refusal
    assert 'runtime = "runc" under [engine]' in only.refusal


def test_a_plain_users_runtime_is_recorded_and_the_users_own_configuration_left_alone(tmp_path: Path) -> None:
    host = machine(READY_AS_USER, account=AccountFacts({TAG: IMAGE}, None), answers=[("--rm --pull=never", PROBED)])
    (record,) = sent(operations.choose_runtime, host, context=context())
    assert FakePrograms(tmp_path).run(record.script, *record.arguments).returncode == 0
    machine_profile = MachineProfile.from_json((tmp_path / layout.MACHINE_FILE).read_text())
    assert machine_profile is not None
    assert machine_profile.runtime == "runc"
    assert not (tmp_path / ".config").exists()


def test_a_plain_user_whose_default_runtime_works_needs_no_configuration(tmp_path: Path) -> None:
    probed = Answer("runtime=\npodman=4.3.1\ndriver=overlay\ncontrollers=[]")
    host = machine(READY_AS_USER, account=AccountFacts({TAG: IMAGE}, None), answers=[("--rm --pull=never", probed)])
    (record,) = sent(operations.choose_runtime, host, context=context())
    own = tmp_path / ".config/containers/containers.conf"
    own.parent.mkdir(parents=True)
    own.write_text("own")
    assert FakePrograms(tmp_path).run(record.script, *record.arguments).returncode == 0
    assert own.read_text() == "own"


def test_what_was_found_out_is_recorded_for_its_owner_only(tmp_path: Path) -> None:
    host = machine(READY_AS_ROOT, account=AccountFacts({TAG: IMAGE}, None), answers=[("--rm --pull=never", PROBED)])
    (record,) = sent(operations.choose_runtime, host, context=context())
    (tmp_path / ".config/containers").mkdir(parents=True)
    account = FakePrograms(tmp_path)
    for _ in range(2):
        assert account.run(record.script, *record.arguments).returncode == 0
    written = tmp_path / layout.MACHINE_FILE
    assert MachineProfile.from_json(written.read_text()) == READY
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert [path.name for path in written.parent.iterdir()] == ["machine.json"]
    assert 'runtime = "runc"' in (tmp_path / ".config/containers/containers.conf").read_text()


PROBE = commands.script("machine/probe.sh")


def probe(tmp_path: Path, *answers: tuple[str, str, int]) -> tuple[FakePrograms, Any]:
    account = FakePrograms(tmp_path)
    info = "podman=4.3.1\ndriver=overlay\ncontrollers=[memory pids]"
    account.answer("podman", ("info*", info, 0), *answers)
    account.answer("crun")
    account.answer("runc")
    return account, account.run(PROBE, IMAGE.id, "101", "101")


def test_the_runtime_that_podman_chooses_itself_is_tried_first_under_full_hardening(tmp_path: Path) -> None:
    account, done = probe(tmp_path, ("run*", "", 0))
    assert {"runtime=", "podman=4.3.1"} <= set(done.stdout.splitlines())
    first = account.asked()[0]
    assert {"--cap-drop=all", "--security-opt=no-new-privileges", "--read-only", "--pull=never"} <= set(first)
    assert "--userns=keep-id:uid=101,gid=101" in first
    assert IMAGE.id in first


def test_the_next_runtime_is_tried_where_one_fails(tmp_path: Path) -> None:
    _, done = probe(tmp_path, ("--runtime runc *", "", 0), ("*", "OCI runtime error", 126))
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "runtime=runc")


def test_the_words_of_every_runtime_are_kept_where_none_works(tmp_path: Path) -> None:
    _, done = probe(tmp_path, ("--runtime crun *", "crun says no", 126), ("*", "something else", 126))
    assert (done.returncode, done.stdout) == (1, "")
    assert "crun: crun says no" in done.stderr
    assert "default runtime: something else" in done.stderr
