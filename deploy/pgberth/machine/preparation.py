"""What is still missing on a machine, and the command that gives it: run as root, or shown to an administrator."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from pgberth import commands
from pgberth.model.image import version_of
from pgberth.model.problems import Problem

PODMAN_FLOOR = (4, 3)  # keep-id:uid=,gid= and --secret with mode came with 4.3
FREE_KIB_FLOOR = 2 * 1024 * 1024  # an image, a volume and its write-ahead log
FREE_INODES_FLOOR = 50_000
CLOCK_SECONDS = 60  # certificates, backups by time and every log line are wrong on a clock further off than this

_PAGE = "runbooks/machine-is-not-fit.md"
_DISK = "runbooks/disk-nearly-full.md"

GECOS = "pgberth tenants"  # the comment that marks an account as made by us, and so as ours to remove

# Program that proves it -> package that brings it (Debian's names).
_PACKAGES = {
    "podman": "podman",
    "newuidmap": "uidmap",
    "newgidmap": "uidmap",
    "flock": "util-linux",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "timeout": "coreutils",
    "pgrep": "procps",
    "mmdebstrap": "mmdebstrap",
}


@dataclass(frozen=True)
class MachineFacts:
    """
    What a machine has, as templates/machine/facts.sh tells it.

    + root: whether commands run as root there
    + account, uid, home: the service account; uid and home are "" before it exists
    + podman, podman_offered: the version that is installed; the one its packages would bring, "" where that is unknown
    + housed: whether its home is there and its own; a killed useradd leaves an account without
    + overlaps: other accounts that were given some of the same subordinate ids
    + ahead: seconds by which its clock is ahead of the control machine's; negative where it is behind
    """

    root: bool
    account: str
    uid: str
    home: str
    distribution: str
    programs: frozenset[str]
    podman: str
    systemd: bool
    linger: bool
    subuid: int
    subgid: int
    subnext: int
    tun: str
    root_mount: str
    rundir: str
    free_kib: int
    free_inodes: int
    podman_offered: str = ""
    overlaps: frozenset[str] = frozenset()
    ahead: int = 0
    housed: bool = True

    @classmethod
    def parse(cls, lines: list[str]) -> MachineFacts:
        """Raises KeyError or ValueError where the script's output is not its own."""
        said = dict(line.split("=", 1) for line in lines if "=" in line)
        return cls(
            root=said["root"] == "yes",
            account=said["account"],
            uid=said["uid"],
            home=said["home"],
            distribution=said["distribution"],
            programs=frozenset(said["programs"].split()),
            podman=said["podman"],
            systemd=said["systemd"] == "yes",
            linger=said["linger"] == "yes",
            subuid=int(said["subuid"] or 0),
            subgid=int(said["subgid"] or 0),
            subnext=int(said["subnext"] or 100_000),
            tun=said["tun"],
            root_mount=said["root_mount"],
            rundir=said["rundir"],
            free_kib=int(said["free_kib"] or 0),
            free_inodes=int(said["free_inodes"] or 0),
            podman_offered=said["podman_offered"],
            overlaps=frozenset(said["overlaps"].split()),
            ahead=int(said["ahead"]),
            housed=said["housed"] == "yes",
        )


@dataclass(frozen=True)
class Step:
    """
    One thing an administrator would do: what for, and the exact command.

    + first: what we do before it and he would see for himself: it waits for others, and ends what a killed run began
    """

    name: str
    command: str
    first: str = ""


def steps(facts: MachineFacts) -> list[Step]:
    """Everything missing that root can give, in order; empty on a machine that is ready."""
    return [*_package_steps(facts), *_account_steps(facts), *_device_steps(facts)]


def problems(facts: MachineFacts) -> list[Problem]:
    """What no command of ours can mend."""
    return [*_software_problems(facts), *_room_problems(facts), *_account_problems(facts)]


def _software_problems(facts: MachineFacts) -> Iterator[Problem]:
    if missing_packages(facts) and "apt-get" not in facts.programs:
        fact = f"{facts.account}: missing here: {' '.join(missing_packages(facts))}; and there is no apt-get"
        yield Problem(fact, "install them with this distribution's own package manager")
    floor = ".".join(map(str, PODMAN_FLOOR))
    if facts.podman and version_of(facts.podman) < PODMAN_FLOOR:
        yield Problem(f"podman {facts.podman} is below {floor}", f"upgrade podman, or the distribution: {_PAGE}")
    elif not facts.podman and () < version_of(facts.podman_offered) < PODMAN_FLOOR:
        fact = f"podman {facts.podman_offered} is what this distribution offers, and is below {floor}"
        yield Problem(fact, f"upgrade the distribution: {_PAGE}")


def _room_problems(facts: MachineFacts) -> Iterator[Problem]:
    if facts.free_kib < FREE_KIB_FLOOR:
        fact = f"{facts.free_kib // 1024} MiB free for {facts.home or '/home'}, {FREE_KIB_FLOOR // 1024} wanted"
        yield Problem(fact, "free some space, or put the account's home on a larger file system: " + _DISK)
    # btrfs and some network file systems count no inodes and say 0.
    if 0 < facts.free_inodes < FREE_INODES_FLOOR:
        fact = f"{facts.free_inodes} inodes free for {facts.home or '/home'}, {FREE_INODES_FLOOR} wanted"
        yield Problem(fact, "remove small files, or put the account's home on another file system: " + _DISK)


def _account_problems(facts: MachineFacts) -> Iterator[Problem]:
    if facts.overlaps:
        others = ", ".join(sorted(facts.overlaps))
        fact = f"subordinate ids of {facts.account} are also given to {others}"
        yield Problem(fact, f"give one of them another range in /etc/subuid and /etc/subgid: {_PAGE}")
    if abs(facts.ahead) > CLOCK_SECONDS:
        direction = "ahead of" if facts.ahead > 0 else "behind"
        fact = f"its clock is {abs(facts.ahead)} s {direction} the control machine's"
        yield Problem(fact, "set the one that is wrong: runbooks/clock-is-off.md")


def missing_packages(facts: MachineFacts) -> list[str]:
    desired = {package for program, package in _PACKAGES.items() if program not in facts.programs}
    if not facts.programs & {"crun", "runc"}:
        desired |= {"crun", "runc"}  # both: which of them works is found by trying
    if not facts.programs & {"slirp4netns", "pasta"}:
        desired |= {"slirp4netns", "passt"}  # podman 4 asks for the first, podman 5 for the second
    return sorted(desired)


def _package_steps(facts: MachineFacts) -> Iterator[Step]:
    if packages := missing_packages(facts):
        names = " ".join(packages)
        install = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends"
        yield Step(f"install {names}", f"apt-get update && {install} {names}", _DPKG_ENDED)


# dpkg says itself what is to be done where it was interrupted, and does nothing else until then.
_DPKG_ENDED = """[ -z "$(ls /var/lib/dpkg/updates 2>/dev/null)" ] || dpkg --configure -a;"""


def _account_steps(facts: MachineFacts) -> Iterator[Step]:
    account = shlex.quote(facts.account)
    script = commands.script("machine/accounts-unlocked.sh")
    unlocked = f"/bin/sh -c {shlex.quote(script)} pgberth"
    if not facts.uid:
        # useradd gives a normal account its subordinate ids; the password stays locked. Its home begins empty, since
        # one that is killed while it copies /etc/skel leaves a part of it.
        made = f"useradd --create-home --skel /nonexistent --shell /bin/sh --comment {shlex.quote(GECOS)} {account}"
        yield Step(f"make the account {facts.account}", made, unlocked)
    if facts.uid and not facts.housed:
        home = shlex.quote(facts.home)
        yield Step(f"make {facts.account}'s home", f'install -d -m 0700 -o {account} -g "$(id -g {account})" {home}')
    first, last = facts.subnext, facts.subnext + 65535
    for kind, have in (("uids", facts.subuid), ("gids", facts.subgid)):
        if facts.uid and have < 65536:
            name = f"give {facts.account} 65536 subordinate {kind}"
            yield Step(name, f"usermod --add-sub{kind} {first}-{last} {account}", unlocked)
    if facts.systemd and not facts.linger:
        # Its runtime directory and its own systemd appear a moment later.
        appeared = f'timeout 20 sh -c "until [ -S /run/user/$(id -u {account})/bus ]; do sleep 0.1; done"'
        name = f"let {facts.account}'s services outlive its sessions"
        yield Step(name, f"loginctl enable-linger {account} && {appeared}")


def _device_steps(facts: MachineFacts) -> Iterator[Step]:
    """What udev and systemd-logind do where they run."""
    if facts.tun and not _others_may_write(facts.tun):
        yield Step("open /dev/net/tun for rootless networks", "chmod 0666 /dev/net/tun")
    if facts.systemd:
        return
    if facts.root_mount and "shared" not in facts.root_mount:
        yield Step("share the root mount with containers", "mount --make-rshared /")
    if facts.rundir != f"{facts.uid} 700" or not facts.uid:
        account = shlex.quote(facts.account)
        command = f'install -d -m 0700 -o {account} -g "$(id -g {account})" "/run/user/$(id -u {account})"'
        yield Step(f"make {facts.account}'s runtime directory", command)


def _others_may_write(mode: str) -> bool:
    return bool(int(mode, 8) & 0o002)


def administrator_commands(missing: list[Step]) -> str:
    """The steps' commands, one a line, as an administrator would paste them."""
    return "\n".join(f"  {step.command}" for step in missing)
