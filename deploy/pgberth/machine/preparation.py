"""What a machine still lacks, and the command that provides it: run as root, or shown to an administrator."""

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
CLOCK_SECONDS = 60  # a clock that is further off spoils certificates, backups by time and every log line

_PAGE = "runbooks/machine-is-not-fit.md"
_DISK = "runbooks/disk-nearly-full.md"

GECOS = "pgberth tenants"  # the comment of an account that we created, and so may remove

# Program -> the Debian package that has it.
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
    What a machine has, as templates/machine/facts.sh prints it.

    + root: whether commands run as root there
    + account, uid, home: the service account; uid and home are "" before it exists
    + podman, podman_offered: the installed version; the version that its packages offer, "" where it is unknown
    + subuid, subgid: how many subordinate ids the account has
    + next_subid: the first subordinate id that no account has
    + has_home: whether its home exists and belongs to it; a killed useradd leaves an account without one
    + configured: whether the account has its podman configuration
    + overlaps: other accounts that have some of the same subordinate ids
    + clock_ahead: seconds by which its clock is ahead of the control machine's; negative where it is behind
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
    next_subid: int
    tun: str
    root_mount: str
    rundir: str
    free_kib: int
    free_inodes: int
    podman_offered: str = ""
    overlaps: frozenset[str] = frozenset()
    clock_ahead: int = 0
    has_home: bool = True
    configured: bool = True

    @classmethod
    def parse(cls, lines: list[str]) -> MachineFacts:
        """Raises KeyError or ValueError where the lines are not the script's."""
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        return cls(
            root=values["root"] == "yes",
            account=values["account"],
            uid=values["uid"],
            home=values["home"],
            distribution=values["distribution"],
            programs=frozenset(values["programs"].split()),
            podman=values["podman"],
            systemd=values["systemd"] == "yes",
            linger=values["linger"] == "yes",
            subuid=int(values["subuid"] or 0),
            subgid=int(values["subgid"] or 0),
            next_subid=int(values["next_subid"] or 100_000),
            tun=values["tun"],
            root_mount=values["root_mount"],
            rundir=values["rundir"],
            free_kib=int(values["free_kib"] or 0),
            free_inodes=int(values["free_inodes"] or 0),
            podman_offered=values["podman_offered"],
            overlaps=frozenset(values["overlaps"].split()),
            clock_ahead=int(values["clock_ahead"]),
            has_home=values["has_home"] == "yes",
            configured=values["configured"] == "yes",
        )


@dataclass(frozen=True)
class Step:
    """
    One thing that an administrator would do.

    + name: what it is for
    + command: exactly what to run
    + preliminary: a command that we run before it, to wait for other programs and to finish what a killed run began.
      The administrator's list omits it
    """

    name: str
    command: str
    preliminary: str = ""


def steps(facts: MachineFacts) -> list[Step]:
    """Everything missing that root can provide, in order; empty on a machine that is ready."""
    return [*_package_steps(facts), *_account_steps(facts), *_device_steps(facts)]


def problems(facts: MachineFacts) -> list[Problem]:
    """What no command of ours can fix."""
    return [*_software_problems(facts), *_room_problems(facts), *_account_problems(facts)]


def _software_problems(facts: MachineFacts) -> Iterator[Problem]:
    if missing_packages(facts) and "apt-get" not in facts.programs:
        names = " ".join(missing_packages(facts))
        fact = f"{facts.account}: these packages are missing, and there is no apt-get: {names}"
        yield Problem(fact, "install them with this distribution's own package manager")
    floor = ".".join(map(str, PODMAN_FLOOR))
    if facts.podman and version_of(facts.podman) < PODMAN_FLOOR:
        yield Problem(f"podman {facts.podman} is below {floor}", f"upgrade podman, or the distribution: {_PAGE}")
    elif not facts.podman and () < version_of(facts.podman_offered) < PODMAN_FLOOR:
        fact = f"this distribution offers podman {facts.podman_offered}, which is below {floor}"
        yield Problem(fact, f"upgrade the distribution: {_PAGE}")


def _room_problems(facts: MachineFacts) -> Iterator[Problem]:
    if facts.free_kib < FREE_KIB_FLOOR:
        fact = f"{facts.free_kib // 1024} MiB free for {facts.home or '/home'}, {FREE_KIB_FLOOR // 1024} needed"
        yield Problem(fact, "free some space, or put the account's home on a larger file system: " + _DISK)
    # btrfs and some network file systems do not count inodes, and report 0.
    if 0 < facts.free_inodes < FREE_INODES_FLOOR:
        fact = f"{facts.free_inodes} inodes free for {facts.home or '/home'}, {FREE_INODES_FLOOR} needed"
        yield Problem(fact, "remove small files, or put the account's home on another file system: " + _DISK)


def _account_problems(facts: MachineFacts) -> Iterator[Problem]:
    if facts.overlaps:
        others = ", ".join(sorted(facts.overlaps))
        fact = f"subordinate ids of {facts.account} also belong to {others}"
        yield Problem(fact, f"give one of them another range in /etc/subuid and /etc/subgid: {_PAGE}")
    if abs(facts.clock_ahead) > CLOCK_SECONDS:
        direction = "ahead of" if facts.clock_ahead > 0 else "behind"
        fact = f"its clock is {abs(facts.clock_ahead)} s {direction} the control machine's"
        yield Problem(fact, "set the wrong clock: runbooks/clock-is-off.md")


def missing_packages(facts: MachineFacts) -> list[str]:
    """The Debian packages that the machine lacks, sorted."""
    desired = {package for program, package in _PACKAGES.items() if program not in facts.programs}
    if not facts.programs & {"crun", "runc"}:
        desired |= {"crun", "runc"}  # both: only the probe shows which of them works
    if not facts.programs & {"slirp4netns", "pasta"}:
        desired |= {"slirp4netns", "passt"}  # podman 4 uses the first, podman 5 the second
    return sorted(desired)


def _package_steps(facts: MachineFacts) -> Iterator[Step]:
    if packages := missing_packages(facts):
        names = " ".join(packages)
        install = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends"
        yield Step(f"install {names}", f"apt-get update && {install} {names}", _FINISH_DPKG)


# An interrupted dpkg refuses everything but this command, which its own message names.
_FINISH_DPKG = """[ -z "$(ls /var/lib/dpkg/updates 2>/dev/null)" ] || dpkg --configure -a;"""


def _account_steps(facts: MachineFacts) -> Iterator[Step]:
    account = shlex.quote(facts.account)
    script = commands.script("machine/accounts-unlocked.sh")
    when_unlocked = f"/bin/sh -c {shlex.quote(script)} pgberth"
    if not facts.uid:
        # useradd gives a normal account its subordinate ids; the password stays locked. The home starts empty, since a
        # useradd that is killed while it copies /etc/skel leaves only a part of it.
        create = f"useradd --create-home --skel /nonexistent --shell /bin/sh --comment {shlex.quote(GECOS)} {account}"
        yield Step(f"create the account {facts.account}", create, when_unlocked)
    if facts.uid and not facts.has_home:
        home = shlex.quote(facts.home)
        yield Step(f"create {facts.account}'s home", f'install -d -m 0700 -o {account} -g "$(id -g {account})" {home}')
    first, last = facts.next_subid, facts.next_subid + 65535
    for kind, count in (("uids", facts.subuid), ("gids", facts.subgid)):
        if facts.uid and count < 65536:
            name = f"give {facts.account} 65536 subordinate {kind}"
            yield Step(name, f"usermod --add-sub{kind} {first}-{last} {account}", when_unlocked)
    if facts.systemd and not facts.linger:
        # The account's runtime directory and its own systemd appear a moment later.
        wait_for_bus = f'timeout 20 sh -c "until [ -S /run/user/$(id -u {account})/bus ]; do sleep 0.1; done"'
        name = f"let {facts.account}'s services outlive its sessions"
        yield Step(name, f"loginctl enable-linger {account} && {wait_for_bus}")


def _device_steps(facts: MachineFacts) -> Iterator[Step]:
    """What udev and systemd-logind do on machines where they run."""
    if facts.tun and not _others_may_write(facts.tun):
        yield Step("open /dev/net/tun for rootless networks", "chmod 0666 /dev/net/tun")
    if facts.systemd:
        return
    if facts.root_mount and "shared" not in facts.root_mount:
        yield Step("share the root mount with containers", "mount --make-rshared /")
    if facts.rundir != f"{facts.uid} 700" or not facts.uid:
        account = shlex.quote(facts.account)
        command = f'install -d -m 0700 -o {account} -g "$(id -g {account})" "/run/user/$(id -u {account})"'
        yield Step(f"create {facts.account}'s runtime directory", command)


def _others_may_write(mode: str) -> bool:
    return bool(int(mode, 8) & 0o002)


def administrator_commands(missing: list[Step]) -> str:
    """The steps' commands, one a line, for an administrator to paste."""
    return "\n".join(f"  {step.command}" for step in missing)
