"""Inventories over throwaway hosts, and what a look inside finds of their tenants."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.product import BUILDING, Inventory, Run
from tests.hosts import server_image
from tests.hosts.commands import wait_for
from tests.hosts.host import Host

ACCOUNT = "pgberth"
BUILT_THERE = "Image()"  # the product's default: each machine builds it
_HEADING = "from pgberth.inventory import ALL, Image, Listen, Sidecar, machine, tenant\n"


@dataclass(frozen=True)
class TenantContext:
    """
    A tenant as an inventory line says it.

    + fields: what stands in the line beside name and machine, as Python source
    """

    name: str
    host: Host
    port: int
    ring: str = "canary"
    fields: str = 'components={"memory_plugin"}'

    def line(self) -> str:
        # A sidecar names an image too, in parentheses: the tenant's own is another field.
        image = "" if re.search(r"(^|, )image=", self.fields) else ", image=_image"
        return f"tenant({self.name!r}, on={self.host.name}, port={self.port}, {self.fields}{image})"

    def podman(self, *arguments: str, check: bool = True) -> str:
        """What the service account's podman says, past the product and the network."""
        return self.host.run(f"podman {' '.join(arguments)}", ACCOUNT, check=check).out

    def running(self) -> bool:
        """Whether its server answers on the socket, asked inside the container."""
        asked = f"podman exec {self.name} pg_isready -q -h /run/postgresql"
        return self.host.run(asked, ACCOUNT, check=False).code == 0

    def wait_until_running(self, seconds: float = 120) -> None:
        """
        Its unit is active, and then its server answers.

        The unit's podman comes first: after a boot the first one makes what all others of the account share.
        """

        def objection() -> str:
            unit = self.host.run(f"systemctl --user is-active pgberth-{self.name}.service", ACCOUNT, check=False)
            if unit.out.strip() != "active":
                return f"its unit is {unit.said.strip()}"
            return "" if self.running() else "no answer"

        wait_for(f"{self.name} on {self.host.name}", objection, seconds)

    def superuser(self, sql: str) -> str:
        """What psql on the socket answers."""
        client = f"podman exec --interactive {self.name} psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres"
        return self.host.run(f"{client} -d memory", ACCOUNT, stdin=sql).out.strip()

    def container(self) -> dict[str, Any]:
        """What `podman inspect` says."""
        found: dict[str, Any] = json.loads(self.podman("container", "inspect", self.name))[0]
        return found


def machine_line(host: Host, **fields: Any) -> str:
    """The host's line; a field given here stands in the place of the usual one."""
    told = {**host.machine_fields(), **fields}
    return f"machine({host.name!r}, {', '.join(f'{name}={value!r}' for name, value in told.items())})"


def inventory(place: Path, berths: Iterable[TenantContext], image: str = "", **machine_fields: Any) -> Inventory:
    """
    These tenants on their hosts, each in its ring.

    + image: as Python source; the archive of this machine's, where none is given, which no host needs to build
    """
    berths = list(berths)
    image = image or f"Image(archive={str(server_image.provide())!r})"
    hosts = {berth.host.name: berth.host for berth in berths}
    lines = [f"_image = {image}"]
    lines += [f"{name} = {machine_line(host, **machine_fields)}" for name, host in hosts.items()]
    lines.append(f"machines = [{', '.join(f'{name}.host' for name in hosts)}]")
    for ring in dict.fromkeys(berth.ring for berth in berths):
        members = ",\n    ".join(berth.line() for berth in berths if berth.ring == ring)
        lines.append(f"{ring} = [\n    {members},\n]")
    path = place / f"inventory_{secrets.token_hex(4)}.py"
    path.write_text(_HEADING + "\n".join(lines) + "\n")
    return Inventory(path)


def provisioned(fleet: Inventory, *options: str) -> Run:
    """A deploy that may have to build the image; it went well."""
    return fleet.provision(*options, seconds=BUILDING).went_well()


@dataclass
class Started:
    """A provision under way, whose words go into files. + began: by the monotonic clock"""

    process: subprocess.Popen[bytes]
    place: Path
    began: float

    @property
    def said(self) -> str:
        """So far."""
        return (self.place / "err").read_text()

    def ended(self, seconds: float) -> Run:
        """Raises subprocess.TimeoutExpired where it does not end in time."""
        code = self.process.wait(seconds)
        out, err = ((self.place / name).read_text() for name in ("out", "err"))
        return Run(code, out, err, time.monotonic() - self.began)


@contextmanager
def started(fleet: Inventory, place: Path, *options: str) -> Iterator[Started]:
    """A provision, for a test that does something meanwhile; killed where the test leaves it running."""
    directory = place / secrets.token_hex(4)
    directory.mkdir()
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        command = fleet.command("provision", "--json", *options)
        with subprocess.Popen(
            command, cwd=fleet.tree, env={**os.environ, "PYTHONPATH": str(fleet.tree / "deploy")},
            stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        ) as process:  # fmt: skip
            try:
                yield Started(process, directory, time.monotonic())
            finally:
                process.kill()
