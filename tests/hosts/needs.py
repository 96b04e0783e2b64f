"""What the machine itself must have to carry throwaway hosts; as root, missing packages are installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.hosts.commands import Failed, call

# Program -> Debian's package. iptables: without it neither netavark nor the CNI plugins give a container a network.
_PROGRAMS = {
    "podman": "podman",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
# Any one of each row; the last is what gets installed.
_ANY_PROGRAM = {"crun": ("runc", "crun")}
_ANY_FILE = {
    "netavark": (
        "/usr/lib/podman/netavark",
        "/usr/libexec/podman/netavark",
        "/usr/lib/cni/bridge",
        "/opt/cni/bin/bridge",
    ),
    "debian-archive-keyring": ("/usr/share/keyrings/debian-archive-keyring.gpg",),
}


class Unfit(RuntimeError):
    """Why this machine, or this user, cannot have throwaway hosts."""


def missing() -> list[str]:
    """Packages, by Debian's names."""
    desired = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    desired |= {package for package, any_of in _ANY_PROGRAM.items() if not any(map(shutil.which, any_of))}
    desired |= {package for package, any_of in _ANY_FILE.items() if not any(Path(path).exists() for path in any_of)}
    return sorted(desired)


def provide() -> None:
    """Everything is here afterwards. Raises Unfit where that cannot be."""
    if os.geteuid() != 0:
        raise Unfit("throwaway hosts are privileged containers of root's own podman: run the tests as root")
    packages = missing()
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise Unfit(f"throwaway hosts need {' '.join(packages)}, and there is no apt-get to install them with")
    install = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet")
    try:
        call("apt-get", "update", "--quiet", timeout=300)
        call(*install, "--no-install-recommends", *packages, timeout=600)
    except Failed as failed:
        raise Unfit(f"throwaway hosts need {' '.join(packages)}, which could not be installed: {failed}") from failed
