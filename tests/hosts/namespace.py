"""Root's podman, run where the hosts' mounts and control groups are: in a mount namespace of their own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.hosts.commands import Ended, Failed, call

# Shared with every namespace, as podman itself makes it: or podman outside of ours would find containers whose network
# it cannot see, and refuse to list anything.
_SHARE = """set -e
mkdir -p /run/netns
mountpoint -q /run/netns || mount --bind /run/netns /run/netns
mount --make-shared /run/netns
"""
# All else is ours alone. systemd wants the unified control groups, whatever the machine itself has mounted; crun wants
# a shared root.
_HOLD = """set -e
while read -r _ _ _ _ place _; do
  [ "$place" = /run/netns ] || mount --make-private "$(printf %b "$place")" 2>/dev/null || true  # or hidden by another
done < /proc/self/mountinfo
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
  ! mountpoint -q /sys/fs/cgroup || umount --lazy /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount --make-rshared /
echo ready
exec cat
"""


@dataclass(frozen=True)
class Podman:
    """+ pid: a process in the namespace"""

    pid: int

    def __call__(self, *arguments: str, timeout: float = 180, check: bool = True) -> Ended:
        """One act on containers, never broken off by a Ctrl-C: half of one leaves a network behind."""
        return call(*self.command(*arguments), timeout=timeout, check=check, unbroken=True)

    def command(self, *arguments: str) -> list[str]:
        # Neither systemd nor journald runs below, or need not: podman's own files serve.
        podman = ("podman", "--cgroup-manager=cgroupfs", "--events-backend=file")
        return ["nsenter", f"--target={self.pid}", "--mount", "--", *podman, *arguments]


@contextlib.contextmanager
def namespace() -> Iterator[Podman]:
    """
    A new namespace, held by one process that ends with us: its stdin is a pipe of ours, so even kill -9 closes it.

    Containers started in it live on then, each with the namespace; room.sweep finds them.
    """
    call("sh", "-c", _SHARE)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation=unchanged", "sh", "-c", _HOLD],
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as holder:
        assert holder.stdout is not None
        said = holder.stdout.readline()
        if said != "ready\n":
            raise Failed(f"no mount namespace for throwaway hosts: {said}{holder.stdout.read()}")
        yield Podman(holder.pid)
