"""Machines as facts.sh describes them, from an empty one to one that is ready."""

from __future__ import annotations

from dataclasses import replace

from pgberth.machine.preparation import MachineFacts

PROGRAMS = frozenset(
    {"apt-get", "podman", "newuidmap", "newgidmap", "flock", "setpriv", "timeout", "nsenter", "pgrep"}
    | {"mmdebstrap", "slirp4netns", "crun", "runc"}
)

# A virtual machine without systemd, prepared by root; what facts.sh said on a real one.
READY_AS_ROOT = MachineFacts(
    root=True,
    account="pgberth",
    uid="1003",
    home="/home/pgberth",
    distribution="debian ",
    programs=PROGRAMS,
    podman="4.3.1",
    systemd=False,
    linger=False,
    subuid=65536,
    subgid=65536,
    next_subid=296608,
    tun="666",
    root_mount="shared",
    rundir="1003 700",
    free_kib=80_888_412,
    free_inodes=16_282_519,
)
READY_AS_USER = replace(READY_AS_ROOT, root=False, account="ada", uid="1000", home="/home/ada", rundir="1000 700")
READY_WITH_SYSTEMD = replace(READY_AS_ROOT, systemd=True, linger=True, root_mount="shared")

# The account is there, and its podman is not configured yet.
NOT_CONFIGURED = replace(READY_AS_ROOT, configured=False)

# Debian as it is installed: nothing of ours, no account.
FRESH = replace(
    READY_AS_ROOT,
    uid="",
    home="",
    programs=frozenset({"apt-get", "setpriv", "timeout", "nsenter", "flock", "pgrep"}),
    podman="",
    subuid=0,
    subgid=0,
    next_subid=100_000,
    tun="600",
    root_mount="private",
    rundir="",
    configured=False,
)
FRESH_WITH_SYSTEMD = replace(FRESH, systemd=True, tun="666", root_mount="shared")
# A plain user of a machine that nobody has prepared.
USER_WITHOUT_PODMAN = replace(
    FRESH, root=False, account="ada", uid="1000", home="/home/ada", systemd=True, rundir="1000 700"
)
