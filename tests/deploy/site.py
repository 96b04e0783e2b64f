"""An account to deploy to for real, and what the tests have put there."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.account import Account
from tests.deploy.processes import Process, eventually, kill, processes
from tests.deploy.product import REPO, Inventory
from tests.deploy.tenant import Tenant

IMAGE = "localhost/pgberth:18-forky"  # of `Image()`, the default
_MACHINE = """from pgberth.inventory import Image, Sidecar, machine, tenant
_image = {image}
_here = machine("@local", account="{account}")
machines = [_here.host]
"""
# What the commands of a deploy run, and nothing that stays: a running tenant has none of these.
_OF_A_DEPLOY = frozenset({"flock", "timeout", "sh", "initdb", "runc", "crun", "sleep", "mmdebstrap"})


@dataclass
class Site:
    """
    An account and its tenants.

    + places: a directory for inventories
    + prefix: makes the tenants' names the tests' own, on an account that may carry others
    + image: of all tenants, as Python source
    """

    account: Account
    places: Path
    prefix: str = field(default_factory=lambda: f"t{secrets.token_hex(2)}")
    made: list[Tenant] = field(default_factory=list)
    image: str = "Image()"

    def tenant(self, name: str, *components: str) -> Tenant:
        """A tenant that is nowhere yet, on a port that nobody uses."""
        made = Tenant(self.account, f"{self.prefix}-{name}", free_port(), components or ("memory_plugin",))
        self.made.append(made)
        return made

    def inventory(self, *tenants: Tenant, tree: Path = REPO) -> Inventory:
        """These tenants, the first of them in the ring `canary` and the others in `production`."""
        rings = {"canary": tenants[:1], "production": tenants[1:]}
        lines = [f"{ring} = [{', '.join(one.line() for one in members)}]" for ring, members in rings.items() if members]
        path = self.places / f"inventory_{secrets.token_hex(4)}.py"
        path.write_text(_MACHINE.format(account=self.account.name, image=self.image) + "\n".join(lines) + "\n")
        return Inventory(path, tree)

    def containers(self, tenant: Tenant) -> list[str]:
        """ "name state" of every container under the tenant's name, its one-shot ones included."""
        told = json.loads(self.account.podman("ps", "--all", "--format=json").out)
        names = (tenant.name, f"{tenant.name}-init")
        return [f"{one['Names'][0]} {one['State']}" for one in told if one["Names"][0] in names]

    def volumes(self, tenant: Tenant) -> list[str]:
        told = self.account.podman("volume", "ls", "--format", "{{.Name}}").out.split()
        return [name for name in told if name.startswith(f"{tenant.name}-data-")]

    def leftovers(self, tenant: Tenant) -> list[str]:
        """What there is besides one running container on one volume, and the processes that go with them."""
        wrong = [f"container {line}" for line in self.containers(tenant) if line != f"{tenant.name} running"]
        wrong += [f"volume {name}" for name in self.volumes(tenant) if name != tenant.volume]
        wrong += [f"file {path}" for path in tenant.directory.rglob("*.new")]
        # podman's own clean-up after a container takes its time.
        return wrong + still_found(self.stray_processes)

    def stray_processes(self) -> list[str]:
        """Processes of the account that belong to no running container."""
        running = set(self.account.podman("ps", "--format", "{{.Names}}").out.split())
        return stray(list(processes(self.account.uid)), running)

    def kill_commands(self) -> None:
        """kill -9 of whatever commands of a deploy run as the account, each with its whole session."""
        found = list(processes(self.account.uid))
        sessions = {process.session for process in found if process.program in ("flock", "timeout")}
        for process in found:
            if process.session in sessions:
                kill(process.pid)

    def remove(self, tenant: Tenant) -> None:
        """Nothing of the tenant is left, whatever state it is in."""
        self.account.podman("rm", "--force", "--ignore", "--time", "0", tenant.name, f"{tenant.name}-init")
        volumes = self.volumes(tenant)
        if volumes:
            self.account.podman("volume", "rm", "--force", *volumes)
        self.account.run("rm", "-rf", str(tenant.directory))

    def remove_all(self) -> None:
        for tenant in self.made:
            self.remove(tenant)


def stray(found: Sequence[Process], running: Set[str]) -> list[str]:
    """Of an account's processes those that belong to none of its running containers, by their names."""
    monitors = Counter(process.monitors for process in found if process.monitors)
    stray = [f"process {process.argv[:200]}" for process in found if process.program in _OF_A_DEPLOY]
    stray += [f"a monitor of {name}, which does not run" for name in monitors if name not in running]
    stray += [f"{count} monitors of {name}" for name, count in monitors.items() if count > 1]
    for helper in ("slirp4netns", "pasta", "rootlessport"):
        count = sum(process.program == helper for process in found)
        stray += [f"{count} {helper} for {len(running)} containers"] if count > len(running) else []
    return stray


def still_found(look: Callable[[], list[str]], seconds: float = 60) -> list[str]:
    """What is still found when time is up; as soon as nothing is, that."""
    found: list[str] = []

    def nothing() -> bool:
        found[:] = look()
        return not found

    eventually(nothing, seconds, pause=0.2)
    return found


def give_image(giver: Account, taker: Account) -> None:
    """The taker has the giver's server image, and need not build one."""
    with giver.start("podman", "image", "save", IMAGE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as saving:
        quiet = subprocess.DEVNULL
        assert taker.start("podman", "image", "load", stdin=saving.stdout, stdout=quiet, stderr=quiet).wait(300) == 0


def free_port() -> int:
    """A port of loopback that nobody listens on, below those the kernel hands out by itself."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
