"""What a tenant's container should be: one list of podman arguments, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pgberth.model import layout
from pgberth.model.image import BuiltImage, version_of
from pgberth.model.tenant import Tenant

# Below it, a container with a user namespace and slirp4netns deadlocks in its own clean-up when podman restarts it,
# and every later podman command about it hangs (podman issue 21477, mended in 5.0).
RESTART_POLICY_FLOOR = (5, 0)
STOP_TIMEOUT = 60  # seconds; more than a checkpoint of the profile's max_wal_size takes


@dataclass(frozen=True)
class ContainerSpec:
    """
    The wanted container of one tenant on one machine.

    + home: absolute home of the service account, which carries the mounted configuration
    + limits: whether this machine enforces memory and pids limits
    + units: whether the account's systemd carries the container, as a Quadlet unit
    + files: name -> text of the configuration that only a recreated container takes up
    """

    tenant: Tenant
    image: BuiltImage
    generation: int
    home: str
    podman: str
    limits: bool
    files: Mapping[str, str]
    units: bool = False

    @property
    def hash(self) -> str:
        """Fingerprint of everything that needs a new container to change."""
        body = json.dumps([self._core_options(), self.image.id, self.command(), self.units, sorted(self.files.items())])
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def arguments(self) -> list[str]:
        """Arguments of `podman run`, image and command included; every supervisor renders these and no others."""
        return [*self.options(), self.image.id, *self.command()]

    def options(self) -> list[str]:
        """Everything before the image."""
        return [*self._core_options(), f"--label={layout.SPEC_LABEL}={self.hash}"]

    def command(self) -> list[str]:
        """What the guard is told."""
        return [self.image.bindir, layout.data_directory(self.image.major), layout.ETC_MOUNT]

    def _core_options(self) -> list[str]:
        name, profile = self.tenant.name, self.tenant.profile
        user = f"{self.image.uid}:{self.image.gid}"
        return [
            "--detach",
            f"--name={layout.container(name)}",
            f"--hostname={name}",
            f"--label={layout.TENANT_LABEL}={name}",
            f"--label={layout.GENERATION_LABEL}={self.generation}",
            f"--label={layout.BINDIR_LABEL}={self.image.bindir}",
            "--pull=never",
            f"--restart={self._restart_policy()}",
            f"--stop-timeout={STOP_TIMEOUT}",
            "--stop-signal=SIGINT",  # PostgreSQL's fast shutdown
            "--log-driver=k8s-file",
            "--log-opt=max-size=10mb",
            *hardening(self.image),
            "--tmpfs=/run/postgresql:mode=1777,nosuid,nodev,noexec,size=1m",
            # Not --shm-size: podman 5 mounts its own /dev/shm read-only beside --read-only-tmpfs=false.
            f"--tmpfs=/dev/shm:mode=1777,nosuid,nodev,noexec,size={profile.shm}",
            f"--volume={layout.volume(name, self.generation)}:{layout.VOLUME_MOUNT}:Z",
            f"--volume={self.home}/{layout.etc(name)}:{layout.ETC_MOUNT}:ro,Z",
            f"--publish=127.0.0.1:{self.tenant.port}:5432",
            *self._limits(),
            f"--user={user}",
            f"--entrypoint={layout.ETC_MOUNT}/guard.sh",
        ]

    def _restart_policy(self) -> str:
        # Never `always`: it would spin on the guard's refusal.
        return "on-failure:5" if version_of(self.podman) >= RESTART_POLICY_FLOOR else "no"

    def _limits(self) -> Iterable[str]:
        if not self.limits:
            return []
        profile = self.tenant.profile
        return [f"--memory={profile.memory}", f"--memory-swap={profile.memory}", f"--pids-limit={profile.pids}"]


def hardening(image: BuiltImage) -> list[str]:
    """What every container of ours runs under, the server's and the throwaway ones alike."""
    return [
        f"--userns=keep-id:uid={image.uid},gid={image.gid}",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--read-only",
        # podman's own tmpfs over /run would hide the socket's directory from the server's user.
        "--read-only-tmpfs=false",
        "--tmpfs=/tmp:mode=1777,nosuid,nodev,noexec,size=64m",
    ]
