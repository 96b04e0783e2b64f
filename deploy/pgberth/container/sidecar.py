"""What a tenant's memory plugin should be: its container, its files, its URL and its unit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from pgberth import commands
from pgberth.container.spec import RESTART_POLICY_FLOOR, hardening
from pgberth.container.supervisor import Supervisor, SystemdUnit
from pgberth.container.units import escaped
from pgberth.model import layout
from pgberth.model.image import version_of
from pgberth.model.secret import Secret
from pgberth.model.sidecar import Sidecar
from pgberth.model.tenant import MEMORY_PLUGIN, Tenant
from pgberth.model.url import tenant_url

PORT = 9100  # inside
USER = 65532  # nobody in particular: it owns nothing in any image
STOP_TIMEOUT = 3  # seconds; it holds no data, and a reboot must not wait for it

_ETC = "/etc/pgberth"
_SECRETS = "/run/secrets"
_SCRIPT, _HOOK = "sidecar.sh", "network-hook.sh"
URL_FILE = "memory_plugin_database_url"
UNREAD = "unread"  # the mark that a running plugin may still connect with what URL_FILE held before

# pasta, the network of podman 5, can lead one port of the machine's loopback into a container. Older podmen have
# slirp4netns, where the whole of the machine's loopback stands behind one address; an OCI hook leaves one port of it.
PASTA_FLOOR = (5, 0)
_SLIRP_HOST = "10.0.2.2"


def way(podman: str, port: int) -> tuple[str, str]:
    """From a container of its own to a server on loopback: podman's option, and what loopback is called inside."""
    if version_of(podman) >= PASTA_FLOOR:
        return f"--network=pasta:-T,{port}", "127.0.0.1"
    return "--network=slirp4netns:allow_host_loopback=true,enable_ipv6=false", _SLIRP_HOST


def plugin_url(podman: str, port: int, login: str, password: Secret, *, tls: bool) -> Secret:
    """
    What the plugin connects with, over loopback. Without TLS, which is of no use there and which Go's driver would
    ask for; where the server insists on TLS, the certificate's authority is not checked.
    """
    _, host = way(podman, port)
    url = tenant_url(port, MEMORY_PLUGIN, password=password, user=login, host=host)
    return Secret(f"{url}&sslmode={'require' if tls else 'disable'}")


@dataclass(frozen=True)
class PluginImage:
    """An image in the account's store. + command: what it runs by itself + uid, gid: whom we run it as"""

    id: str
    command: tuple[str, ...]
    uid: int = USER
    gid: int = USER


@dataclass(frozen=True)
class SidecarSpec:
    """
    The wanted container of a tenant's memory plugin.

    + server_port: where the tenant's server listens
    + home, podman, limits, supervisor: see ContainerSpec
    """

    tenant: Tenant
    sidecar: Sidecar
    image: PluginImage
    server_port: int
    home: str
    podman: str
    limits: bool
    supervisor: Supervisor

    @property
    def files(self) -> dict[str, str]:
        """Name in its directory -> text. Its password is not among them: it changes without a new container."""
        hook = {}
        if self.hooks:
            told = {"path": f"{self._directory}/{_HOOK}", "args": [_HOOK, _SLIRP_HOST, str(self.server_port)]}
            body = {"version": "1.0.0", "hook": told, "when": {"always": True}, "stages": ["createRuntime"]}
            hook = {
                _HOOK: commands.script(f"container/{_HOOK}"),
                "hooks/network.json": json.dumps(body, indent=2) + "\n",
            }
        return {_SCRIPT: commands.script(f"entrypoint/{_SCRIPT}"), **hook}

    @property
    def hooks(self) -> str:
        """The directory of its OCI hooks; "" where its network needs none."""
        return f"{self._directory}/hooks" if version_of(self.podman) < PASTA_FLOOR else ""

    @property
    def _directory(self) -> str:
        return f"{self.home}/{layout.sidecar_etc(self.tenant.name)}"

    @property
    def hash(self) -> str:
        """Fingerprint of everything that needs a new container to change."""
        files = sorted(self.files.items())
        body = json.dumps([self._core_options(), self.image.id, self.image.command, files, self.supervisor])
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def arguments(self) -> list[str]:
        """Arguments of `podman run`, image and command included."""
        label = f"--label={layout.SPEC_LABEL}={self.hash}"
        return [*self._core_options(), label, self.image.id, *self.image.command]

    def _core_options(self) -> list[str]:
        name = self.tenant.name
        network, _ = way(self.podman, self.server_port)
        return [
            "--detach",
            f"--name={layout.sidecar(name)}",
            f"--hostname={name}-memory-plugin",
            f"--label={layout.TENANT_LABEL}={name}",
            "--pull=never",
            f"--restart={'on-failure:5' if version_of(self.podman) >= RESTART_POLICY_FLOOR else 'no'}",
            f"--stop-timeout={STOP_TIMEOUT}",
            "--log-driver=k8s-file",
            "--log-opt=max-size=10mb",
            *hardening(self.image),
            f"--volume={self._directory}:{_ETC}:ro,Z",
            # A directory, and not podman's own secret, which a container keeps as it was when it was created.
            f"--volume={self.home}/{layout.sidecar_secrets(name)}:{_SECRETS}:ro,Z",
            network,
            f"--publish=127.0.0.1:{self.sidecar.port}:{PORT}",
            "--env=MEMORY_PLUGIN_SKIP_MIGRATE=1",
            f"--env=MEMORY_PLUGIN_LISTEN_ADDR=0.0.0.0:{PORT}",  # of its own network, which loopback alone leads to
            *self._limits(),
            f"--user={USER}:{USER}",
            f"--entrypoint={_ETC}/{_SCRIPT}",
        ]

    def _limits(self) -> Iterable[str]:
        return ["--memory=512m", "--memory-swap=512m", "--pids-limit=256"] if self.limits else []


def unit_name(tenant: str) -> str:
    return layout.unit(layout.sidecar(tenant))


def sidecar_unit(spec: SidecarSpec) -> SystemdUnit:
    """
    The unit that carries it, a plain one under every podman; None where podman alone does.

    See units.py for why it keeps podman from the session bus. Each stage of its end is bounded: podman 4 has been seen
    to hang there when the machine went down.
    """
    if spec.supervisor is Supervisor.PODMAN:
        return SystemdUnit()
    name = spec.tenant.name
    words = " ".join(escaped(word) for word in spec.arguments() if not word.startswith("--restart="))
    text = commands.script("container/sidecar.unit").format(
        name=name,
        words=words,
        hooks=f"--hooks-dir={spec.hooks} " if spec.hooks else "",
        container=layout.sidecar(name),
        seconds=STOP_TIMEOUT + 7,
    )
    return SystemdUnit(f"{layout.UNITS}/{unit_name(name)}.service", text)
