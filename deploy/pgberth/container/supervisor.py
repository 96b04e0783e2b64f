"""Who keeps a tenant's container up: chosen by what its machine has, and handed one list of podman arguments."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from pgberth.model.image import version_of

# 4.6 is the first that takes every key used here (podman's release notes).
QUADLET_FLOOR = (4, 6)


class Supervisor(StrEnum):
    """
    PODMAN: `podman run`, for a machine without the account's own systemd: nothing comes back after a reboot by itself.
    UNIT: a plain unit of the account's systemd, for a podman that knows no Quadlet yet.
    QUADLET: a Quadlet unit.
    """

    PODMAN = "podman"
    UNIT = "a systemd unit"
    QUADLET = "Quadlet"


def supervisor_of(podman: str, user_systemd: bool) -> Supervisor:
    """The one for a machine with this podman, whose account has a systemd of its own or none."""
    if not user_systemd:
        return Supervisor.PODMAN
    return Supervisor.QUADLET if version_of(podman) >= QUADLET_FLOOR else Supervisor.UNIT


@dataclass(frozen=True)
class SystemdUnit:
    """
    A unit of the account's systemd.

    + file: relative to the account's home
    + link: what makes systemd start it at boot; "" where a generator sees to that
    """

    file: str = ""
    text: str = ""
    link: str = ""

    @property
    def digests(self) -> dict[str, str]:
        """Path -> SHA-256 in hex, for each file by which systemd starts the tenant."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return {path: digest for path in (self.file, self.link) if path}
