"""What a machine still needs, judged from its facts alone."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from pgberth.machine import preparation
from pgberth.machine.preparation import MachineFacts, administrator_commands, missing_packages, problems, steps
from pgberth.model.resources import TEMPLATES
from tests.machine.states import (
    FRESH,
    FRESH_WITH_SYSTEMD,
    PROGRAMS,
    READY_AS_ROOT,
    READY_AS_USER,
    READY_WITH_SYSTEMD,
    USER_WITHOUT_PODMAN,
)

# Lingering takes effect a moment later, when the account's own systemd is there.
LINGER = 'loginctl enable-linger WHO && timeout 20 sh -c "until [ -S /run/user/$(id -u WHO)/bus ]; do sleep 0.1; done"'

INSTALL = "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends"
MAKE_ACCOUNT = "useradd --create-home --skel /nonexistent --shell /bin/sh --comment 'pgberth tenants' pgberth"
RUNDIR = 'install -d -m 0700 -o {0} -g "$(id -g {0})" "/run/user/$(id -u {0})"'


def facts_here(account: str, **environment: str) -> list[str]:
    """facts.sh's real output on this machine."""
    done = subprocess.run(
        ["sh", TEMPLATES / "machine/facts.sh", account, str(int(time.time()))],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_facts_of_this_machine_are_understood() -> None:
    me = pwd.getpwuid(os.geteuid())
    found = MachineFacts.parse(facts_here(me.pw_name))
    assert found.root is (os.geteuid() == 0)
    assert (found.account, found.uid, found.home) == (me.pw_name, str(me.pw_uid), me.pw_dir)
    assert {"flock", "timeout"} <= found.programs
    assert found.free_kib > 0
    assert found.systemd is Path("/run/systemd/system").is_dir()
    assert 0 <= found.clock_ahead < 30  # it is this machine's own clock


def test_an_account_that_does_not_exist_is_a_fact_not_a_failure() -> None:
    found = MachineFacts.parse(facts_here("no-such-account-here"))
    if found.root:
        assert (found.account, found.uid, found.home, found.subuid) == ("no-such-account-here", "", "", 0)
    else:
        assert found.account == pwd.getpwuid(os.geteuid()).pw_name  # a plain user has tenants of its own only


def test_a_machine_with_next_to_nothing_still_answers(tmp_path: Path) -> None:
    for tool in ("id", "cut", "awk", "stat", "df", "uname", "sh", "date"):
        (tmp_path / tool).symlink_to(next(p for p in (Path("/usr/bin", tool), Path("/bin", tool)) if p.exists()))
    found = MachineFacts.parse(facts_here("pgberth", PATH=str(tmp_path)))
    assert found.programs == frozenset()
    assert (found.podman, found.root_mount) == ("", "")
    assert "podman" in missing_packages(found)


@pytest.mark.parametrize("lines", [[], ["root=yes"], ["nonsense"], ["sh: 1: syntax error"]])
def test_other_output_than_the_scripts_own_is_refused(lines: list[str]) -> None:
    with pytest.raises(KeyError):
        MachineFacts.parse(lines)


def test_output_with_a_word_for_a_number_is_refused() -> None:
    said = facts_here("pgberth")
    spoilt = ["free_kib=plenty" if line.startswith("free_kib=") else line for line in said]
    with pytest.raises(ValueError, match="plenty"):
        MachineFacts.parse(spoilt)


def test_the_script_tells_every_fact_there_is() -> None:
    said = {line.partition("=")[0] for line in facts_here("pgberth")}
    assert {field.name for field in fields(MachineFacts)} <= said


# A machine, and the exact commands that prepare it.
TABLE: dict[str, tuple[MachineFacts, list[str]]] = {
    "ready, as root": (READY_AS_ROOT, []),
    "ready, as a plain user": (READY_AS_USER, []),
    "ready, with systemd": (READY_WITH_SYSTEMD, []),
    "fresh, without systemd": (
        FRESH,
        [
            f"{INSTALL} crun mmdebstrap passt podman runc slirp4netns uidmap",
            MAKE_ACCOUNT,
            "chmod 0666 /dev/net/tun",
            "mount --make-rshared /",
            RUNDIR.format("pgberth"),
        ],
    ),
    "fresh, with systemd": (
        FRESH_WITH_SYSTEMD,
        [
            f"{INSTALL} crun mmdebstrap passt podman runc slirp4netns uidmap",
            MAKE_ACCOUNT,
            LINGER.replace("WHO", "pgberth"),
        ],
    ),
    "a plain user without podman": (
        USER_WITHOUT_PODMAN,
        [
            f"{INSTALL} crun mmdebstrap passt podman runc slirp4netns uidmap",
            "usermod --add-subuids 100000-165535 ada",
            "usermod --add-subgids 100000-165535 ada",
            LINGER.replace("WHO", "ada"),
            "chmod 0666 /dev/net/tun",
        ],
    ),
    "no subordinate ids": (
        replace(READY_AS_ROOT, subuid=0, subgid=65536),
        ["usermod --add-subuids 296608-362143 pgberth"],
    ),
    "too few subordinate ids": (
        replace(READY_AS_ROOT, subgid=1000),
        ["usermod --add-subgids 296608-362143 pgberth"],
    ),
    "an account without a home": (
        replace(READY_AS_ROOT, has_home=False),
        ['install -d -m 0700 -o pgberth -g "$(id -g pgberth)" /home/pgberth'],
    ),
    "tun closed": (replace(READY_AS_ROOT, tun="660"), ["chmod 0666 /dev/net/tun"]),
    "tun open": (replace(READY_AS_ROOT, tun="777"), []),
    "no tun at all": (replace(READY_AS_ROOT, tun=""), []),
    "root mount private": (replace(READY_AS_ROOT, root_mount="private"), ["mount --make-rshared /"]),
    "root mount private, but systemd sees to it": (replace(READY_WITH_SYSTEMD, root_mount="private"), []),
    "root mount shared and slave": (replace(READY_AS_ROOT, root_mount="shared,slave"), []),
    "root mount unknown": (replace(READY_AS_ROOT, root_mount=""), []),
    "no runtime directory": (replace(READY_AS_ROOT, rundir=""), [RUNDIR.format("pgberth")]),
    "another's runtime directory": (replace(READY_AS_ROOT, rundir="0 700"), [RUNDIR.format("pgberth")]),
    "an open runtime directory": (replace(READY_AS_ROOT, rundir="1003 755"), [RUNDIR.format("pgberth")]),
    "no runtime directory, but systemd makes it": (replace(READY_WITH_SYSTEMD, rundir=""), []),
    "no linger": (replace(READY_WITH_SYSTEMD, linger=False), [LINGER.replace("WHO", "pgberth")]),
    "one runtime is enough": (replace(READY_AS_ROOT, programs=PROGRAMS - {"crun"}), []),
    "no OCI runtime": (replace(READY_AS_ROOT, programs=PROGRAMS - {"crun", "runc"}), [f"{INSTALL} crun runc"]),
    "one rootless network is enough": (replace(READY_AS_ROOT, programs=PROGRAMS - {"slirp4netns"} | {"pasta"}), []),
    "no rootless network": (
        replace(READY_AS_ROOT, programs=PROGRAMS - {"slirp4netns"}),
        [f"{INSTALL} passt slirp4netns"],
    ),
    "two programs of one package": (
        replace(READY_AS_ROOT, programs=PROGRAMS - {"newuidmap", "newgidmap"}),
        [f"{INSTALL} uidmap"],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_each_missing_thing_and_nothing_else_gets_its_command(case: str) -> None:
    facts, commands = TABLE[case]
    assert [step.command for step in steps(facts)] == commands


@pytest.mark.parametrize("case", TABLE)
def test_each_command_is_what_a_shell_can_read_and_says_what_it_is_for(case: str) -> None:
    for step in steps(TABLE[case][0]):
        assert shlex.split(step.command)
        assert step.name
        assert "\n" not in step.name + step.command


def test_the_commands_for_an_administrator_are_all_of_them_one_a_line() -> None:
    missing = steps(USER_WITHOUT_PODMAN)
    pasted = administrator_commands(missing)
    assert [line.strip() for line in pasted.splitlines()] == [step.command for step in missing]
    checked = subprocess.run(["sh", "-n"], input=pasted, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    "facts", [READY_AS_ROOT, READY_AS_USER, READY_WITH_SYSTEMD, FRESH, FRESH_WITH_SYSTEMD, USER_WITHOUT_PODMAN]
)
def test_a_debian_that_lacks_only_what_can_be_given_has_no_problem(facts: MachineFacts) -> None:
    assert problems(facts) == []


UNMENDABLE: list[tuple[MachineFacts, str]] = [
    (replace(FRESH, programs=frozenset()), "there is no apt-get"),
    (replace(READY_AS_ROOT, podman="4.2.0"), "podman 4.2.0 is below 4.3"),
    (replace(READY_AS_ROOT, podman="3.4.4"), "podman 3.4.4 is below 4.3"),
    (replace(READY_AS_ROOT, free_kib=2 * 1024 * 1024 - 1), "2047 MiB free for /home/pgberth, 2048 needed"),
    (replace(FRESH, free_kib=0), "0 MiB free for /home, 2048 needed"),
    (replace(FRESH, podman_offered="3.0.1+dfsg1-3"), "this distribution offers podman 3.0.1+dfsg1-3"),
    (replace(READY_AS_ROOT, overlaps=frozenset({"bob", "1005"})), "ids of pgberth also belong to 1005, bob"),
    (replace(READY_AS_ROOT, clock_ahead=61), "its clock is 61 s ahead of the control machine's"),
    (replace(READY_AS_ROOT, clock_ahead=-3600), "its clock is 3600 s behind the control machine's"),
    (replace(READY_AS_ROOT, free_inodes=49_999), "49999 inodes free for /home/pgberth, 50000 needed"),
]


@pytest.mark.parametrize(("facts", "says"), UNMENDABLE, ids=[says for _, says in UNMENDABLE])
def test_what_no_command_of_ours_can_mend_is_a_problem_with_a_hint(facts: MachineFacts, says: str) -> None:
    (problem,) = problems(facts)
    assert says in problem.fact
    assert problem.hint


@pytest.mark.parametrize(
    "facts",
    [
        replace(READY_AS_ROOT, podman="4.3.0"),
        replace(READY_AS_ROOT, podman="4.10.1"),
        replace(READY_AS_ROOT, podman_offered="3.0.1"),  # what is installed counts
        replace(FRESH, podman_offered="4.3.1+ds1-8+deb12u1"),
        replace(FRESH, podman_offered="(none)"),  # nobody has asked the mirror yet
        replace(READY_AS_ROOT, clock_ahead=60),
        replace(READY_AS_ROOT, clock_ahead=-60),
        replace(READY_AS_ROOT, podman="5.4.2+ds1"),
        replace(READY_AS_ROOT, free_kib=2 * 1024 * 1024),
        replace(READY_AS_ROOT, free_inodes=50_000),
        replace(READY_AS_ROOT, free_inodes=0),  # btrfs counts none
        replace(READY_AS_ROOT, programs=PROGRAMS - {"apt-get"}),  # nothing is missing, so nothing is to be installed
    ],
)
def test_the_limits_themselves_are_good_enough(facts: MachineFacts) -> None:
    assert problems(facts) == []


def test_all_problems_are_told_at_once() -> None:
    bare = replace(FRESH, programs=frozenset(), podman="4.0.0", free_kib=0, free_inodes=1)
    hopeless = replace(bare, overlaps=frozenset({"bob"}), clock_ahead=7200)
    assert len(problems(hopeless)) == 6


# Lines of /etc/subuid and of /etc/subgid, and what is said of the account `me`, whose number is this user's.
GIVEN: dict[str, tuple[str, str, tuple[int, int, str]]] = {
    "nothing": ("", "", (0, 0, "")),
    "others only": ("bob:100000:65536", "bob:100000:65536", (0, 0, "")),
    "one range": ("me:100000:65536\nbob:165536:65536", "me:100000:65536", (65536, 65536, "")),
    "by number": ("UID:100000:65536", "UID:100000:65536", (65536, 65536, "")),
    "two ranges": ("me:100000:1000\nme:300000:65536", "", (66536, 0, "")),
    "the same as another's": ("bob:100000:65536\nme:100000:65536", "", (65536, 0, "bob")),
    "overlapping by one": ("me:100000:65536\nbob:165535:65536", "", (65536, 0, "bob")),
    "within another's": ("bob:1:4000000", "me:200000:65536\neve:100000:900000", (0, 65536, "eve")),
    "its own two": ("me:100000:65536\nme:100000:65536", "", (131072, 0, "")),
}


@pytest.mark.parametrize("what", GIVEN)
def test_subordinate_ids_are_counted_and_whoever_was_given_the_same_is_named(tmp_path: Path, what: str) -> None:
    subuid, subgid, (uids, gids, others) = GIVEN[what]
    me = pwd.getpwuid(os.geteuid())
    script = (TEMPLATES / "machine/facts.sh").read_text()
    for name, text in (("subuid", subuid), ("subgid", subgid)):
        (tmp_path / name).write_text(re.sub(r"\bme\b", me.pw_name, text).replace("UID", str(me.pw_uid)) + "\n")
        script = script.replace(f"/etc/{name}", str(tmp_path / name))
    done = subprocess.run(["sh", "-c", script, "sh", me.pw_name, "0"], capture_output=True, text=True, check=True)
    found = MachineFacts.parse(done.stdout.splitlines())
    assert (found.subuid, found.subgid, " ".join(sorted(found.overlaps))) == (uids, gids, others)


def test_every_program_a_package_is_proven_by_is_looked_for_by_the_script() -> None:
    script = (TEMPLATES / "machine/facts.sh").read_text()
    looked_for = set(script.split("for program in ")[1].split(";")[0].split())
    assert set(preparation._PACKAGES) | {"apt-get", "crun", "runc", "slirp4netns", "pasta"} <= looked_for
