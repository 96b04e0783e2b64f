"""Where a run's hosts live: one network, one key, one namespace; all of it gone at the end, however that comes."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import ipaddress
import json
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.hosts import image
from tests.hosts.commands import call
from tests.hosts.host import Host
from tests.hosts.keys import Keys
from tests.hosts.locks import PLACE, held, opened, taken
from tests.hosts.namespace import Podman, namespace

LABEL = "pgberth.tests.room"
_ROOMS = PLACE / "rooms"
_PREFIX = "pgberth-test-"
_FIRST_ADDRESS = 10
# Privileged, since systemd is to mount and delegate as on a machine; the limits are those a login has on Debian.
_AS_MACHINE = (
    "--privileged",
    "--systemd=always",
    "--pids-limit=0",
    "--ulimit=nofile=4096:4096",
    "--ulimit=nproc=32768:32768",
    "--log-driver=none",
    # podman's own stays over a restart, and in it the locks of the host's podman.
    "--tmpfs=/dev/shm:rw,nosuid,nodev,mode=1777",
)


@dataclass
class Room:
    """+ name: in the names and the labels of all that belongs to it"""

    name: str
    podman: Podman
    keys: Keys
    subnet: ipaddress.IPv4Network
    booted: int = field(default=0, init=False)
    _leaving: dict[str, Future[None]] = field(default_factory=dict, init=False)
    _removal: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), init=False)

    @property
    def network(self) -> str:
        return _network(self.name)

    def boot(self, name: str, suite: str = image.TRIXIE) -> Host:
        """
        A new host, ready for ssh as root. Raises Failed where it does not come up.

        + name: its hostname, used once in a room
        + suite: image.TRIXIE or image.BOOKWORM; the image is built where it is not there yet
        """
        tag = image.provide(suite)
        if name in self._leaving:
            self._leaving.pop(name).result()
        started = time.monotonic()
        number = _FIRST_ADDRESS + self.booted
        self.booted += 1
        container = f"{_PREFIX}{self.name}-{name}"
        host = Host(name, container, str(self.subnet[number]), self.podman, self.keys)
        label = f"--label={LABEL}={self.name}"
        for volume in host.volumes:
            self.podman("volume", "create", label, volume)
        # An address and a card of its own that stay: the machine below remembers which card an address was at.
        card = f"--ip={host.address}", f"--mac-address=02:00:5e:00:{number // 256:02x}:{number % 256:02x}"
        named = f"--name={container}", f"--hostname={name}", f"--network={self.network}"
        mounted = (f"--volume={volume}:{place}" for volume, place in host.volumes.items())
        self.podman("run", "--detach", label, *_AS_MACHINE, *card, *named, *mounted, tag)
        host.admit()
        host.ready()
        return dataclasses.replace(host, booted_in=time.monotonic() - started)

    def dismiss(self, host: Host) -> None:
        """Destroy a host while other tests work; `settle` waits for that."""
        self.keys.invalidate(host.address)
        self._leaving[host.name] = self._removal.submit(host.remove)

    def settle(self) -> None:
        """Every dismissed host is gone. Raises Failed where one could not be removed."""
        self._removal.shutdown()
        for leaving in self._leaving.values():
            leaving.result()


@contextlib.contextmanager
def opened_room() -> Iterator[Room]:
    """A room of this run's own, next to those of other runs; what killed runs left behind is removed first."""
    with contextlib.ExitStack() as undo:
        with held("rooms"):
            sweep()
            name = secrets.token_hex(3)
            directory = _ROOMS / name
            directory.mkdir(mode=0o700, parents=True)
            fcntl.flock(undo.enter_context(opened(directory / "lock")), fcntl.LOCK_EX)
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            podman = undo.enter_context(namespace())
            undo.callback(_remove, name, podman)
            podman("network", "create", "--disable-dns", f"--label={LABEL}={name}", _network(name))
        room = Room(name, podman, Keys.made(directory), _subnet(_network(name)))
        undo.callback(room.settle)
        yield room


def sweep() -> list[str]:
    """Remove what runs left behind that no longer live; the names of their rooms."""
    dead = sorted(_left() - {path.name for path in _ROOMS.glob("*") if taken(path / "lock")})
    for name in dead:
        with _namespace_of(name) as podman:
            _remove(name, podman)
        shutil.rmtree(_ROOMS / name, ignore_errors=True)
    return dead


def _left() -> set[str]:
    """Every room there is a trace of."""
    found = {path.name for path in _ROOMS.glob("*")}
    for listing in (("ps", "--all", "--format={{.Names}}"), ("volume", "ls", "-q"), ("network", "ls", "-q")):
        names = call("podman", *listing, f"--filter=label={LABEL}").out.split()
        found |= {name.removeprefix(_PREFIX).partition("-")[0] for name in names}
    return found


@contextlib.contextmanager
def _namespace_of(name: str) -> Iterator[Podman]:
    """The namespace a dead run's containers still live in, where their mounts can be taken down; else a new one."""
    for container in _containers(name):
        asked = call("podman", "container", "inspect", "--format={{.State.ConmonPid}}", container, check=False)
        monitor = asked.out.strip()
        with contextlib.suppress(OSError):
            if monitor != "0" and Path(f"/proc/{monitor}/comm").read_text() == "conmon\n":
                yield Podman(int(monitor))
                return
    with namespace() as podman:
        yield podman


def _containers(name: str) -> list[str]:
    return call("podman", "ps", "--all", "--quiet", "--no-trunc", f"--filter=label={LABEL}={name}").out.split()


def _remove(name: str, podman: Podman) -> None:
    """Each part, whether another could be removed or not."""
    with contextlib.ExitStack() as each:
        # The CNI plugins keep the addresses they gave away.
        each.callback(shutil.rmtree, Path("/var/lib/cni/networks", _network(name)), ignore_errors=True)
        each.callback(call, "podman", "network", "rm", "--force", _network(name), check=False, unbroken=True)
        each.callback(_remove_volumes, name)
        each.callback(_remove_containers, name, podman)


def _remove_containers(name: str, podman: Podman) -> None:
    # In one command, and nothing after it in this namespace: a dead run's ends with its last container.
    if containers := _containers(name):
        podman("rm", "--force", "--time=0", *containers)


def _remove_volumes(name: str) -> None:
    if volumes := call("podman", "volume", "ls", "--quiet", f"--filter=label={LABEL}={name}").out.split():
        call("podman", "volume", "rm", "--force", *volumes, unbroken=True)


def _network(name: str) -> str:
    return _PREFIX + name


def _subnet(network: str) -> ipaddress.IPv4Network:
    [found] = json.loads(call("podman", "network", "inspect", network).out)
    return ipaddress.IPv4Network(found["subnets"][0]["subnet"])
