"""What a tenant's container should be: one list of podman arguments, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Protocol

from pgberth.container.supervisor import Supervisor
from pgberth.model import layout
from pgberth.model.image import BuiltImage, version_of
from pgberth.model.tenant import Tenant

# Below it, a container with a user namespace and slirp4netns deadlocks in its own clean-up when podman restarts it,
# and every later podman command about it hangs (podman issue 21477, mended in 5.0).
RESTART_POLICY_FLOOR = (5, 0)
# podman 4.3 waits for ever for its timer to stop when the account's systemd is stopping already: a reboot took two
# minutes, and then killed the servers.
HEALTH_TIMER_FLOOR = (5, 0)
STOP_TIMEOUT = 60  # seconds; more than a checkpoint of the profile's max_wal_size takes


@dataclass(frozen=True)
class ContainerSpec:
    """
    The wanted container of one tenant on one machine.

    + home: absolute home of the service account, which carries the mounted configuration
    + limits: whether this machine enforces memory and pids limits
    + supervisor: who keeps the container up
    + files: name -> text of the configuration that only a recreated container takes up
    """

    tenant: Tenant
    image: BuiltImage
    generation: int
    home: str
    podman: str
    limits: bool
    files: Mapping[str, str]
    supervisor: Supervisor = Supervisor.PODMAN

    @property
    def hash(self) -> str:
        """Fingerprint of everything that needs a new container to change."""
        files = sorted(self.files.items())
        body = json.dumps([self._core_options(), self.image.id, self.command(), self.supervisor, files])
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    @property
    def rollout_hash(self) -> str:
        """
        Fingerprint of what a ring tries before the next one gets it: image, profile, flags, this bundle's version.

        The same for tenants that differ in name, port, generation, machine, and where they listen beyond loopback only.
        """
        anybody = replace(self.tenant, name="tenant", port=0, listen=None)
        common = replace(
            self, tenant=anybody, generation=0, home="", podman="", limits=False, supervisor=Supervisor.PODMAN
        )
        body = json.dumps([common.hash, self.tenant.profile_name, version("pgberth")])
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def arguments(self) -> list[str]:
        """Arguments of `podman run`, image and command included. A unit differs in some: see units.py."""
        return [*self.options(), self.image.id, *self.command()]

    def options(self) -> list[str]:
        """Everything before the image."""
        return [*self._core_options(), f"--label={layout.SPEC_LABEL}={self.hash}"]

    def command(self) -> list[str]:
        """The guard's arguments."""
        told = [self.image.bindir, layout.data_directory(self.image.major), layout.ETC_MOUNT, self.tenant.name]
        return [*told, *self._tls()]

    def _tls(self) -> Iterable[str]:
        # On the command line, and not in postgresql.conf: no edit of a file opens a server to sessions without.
        if (listen := self.tenant.listen) is None:
            return []
        certificate, hba = f"{layout.ETC_MOUNT}/{listen.file}", f"{layout.ETC_MOUNT}/{layout.HBA_TLS}"
        told = {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": certificate, "hba_file": hba}
        return [word for name, value in told.items() for word in ("-c", f"{name}={value}")]

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
            f"--log-opt=path={self.home}/{layout.log(name)}",
            *hardening(self.image),
            tmpfs("/run/postgresql", "1m"),
            # Not --shm-size: podman 5 mounts its own /dev/shm read-only beside --read-only-tmpfs=false.
            tmpfs("/dev/shm", profile.shm),  # noqa: S108  # a place inside the container
            f"--volume={layout.volume(name, self.generation)}:{layout.VOLUME_MOUNT}:Z",
            f"--volume={self.home}/{layout.etc(name)}:{layout.ETC_MOUNT}:ro,Z",
            f"--publish=127.0.0.1:{self.tenant.port}:5432",
            *self._beyond_loopback(),
            *self._limits(),
            *self._health(),
            f"--user={user}",
            f"--entrypoint={layout.ETC_MOUNT}/guard.sh",
        ]

    def _beyond_loopback(self) -> Iterable[str]:
        listen = self.tenant.listen
        return [f"--publish={listen.address}:{self.tenant.port}:5432"] if listen is not None else []

    def _restart_policy(self) -> str:
        # Never `always`: it would spin on the guard's refusal.
        return "on-failure:5" if version_of(self.podman) >= RESTART_POLICY_FLOOR else "no"

    def _health(self) -> Iterable[str]:
        """
        What `podman ps` shows beside the container; nothing is restarted for it.

        A query on the socket, as the server's own user: a login that is refused would be a line in the log each time.
        """
        psql = f"exec {self.image.bindir}/psql -XAtq -h /run/postgresql -U postgres -d postgres -c 'SELECT 1'"
        # Where nobody asks each minute, `podman healthcheck run` asks by hand.
        timed = self.supervisor is not Supervisor.PODMAN and version_of(self.podman) >= HEALTH_TIMER_FLOOR
        interval = "60s" if timed else "disable"
        return [f"--health-cmd={psql}", f"--health-interval={interval}", "--health-start-period=300s"]

    def _limits(self) -> Iterable[str]:
        if not self.limits:
            return []
        profile = self.tenant.profile
        return [f"--memory={profile.memory}", f"--memory-swap={profile.memory}", f"--pids-limit={profile.pids}"]


class RunsAs(Protocol):
    """Whatever knows which user is to run inside."""

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...


def hardening(image: RunsAs) -> list[str]:
    """What every container of ours runs under, the server's and the throwaway ones alike."""
    return [
        f"--userns=keep-id:uid={image.uid},gid={image.gid}",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--read-only",
        # podman's own tmpfs over /run would hide the socket's directory from the server's user.
        "--read-only-tmpfs=false",
        tmpfs("/tmp", "64m"),  # noqa: S108  # a place inside the container
    ]


def tmpfs(place: str, size: str) -> str:
    """
    A directory in memory, of the server's own user (chown).

    Not --tmpfs: podman 4 forgets its mode at a container's second start, and the server could not make its socket.
    """
    return f"--mount=type=tmpfs,destination={place},tmpfs-mode=1777,tmpfs-size={size},noexec,chown=true"
