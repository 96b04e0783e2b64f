"""
Everything that brings one certain container of a tenant up, as a value: the one that runs, or the one that is wanted.

What a recycle may have to bring back is kept whole before anything is changed: the container as it was made, not as
this release would make it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.commands import Commands, File
from pgberth.container.context import TenantContext
from pgberth.container.spec import STOP_TIMEOUT, ContainerSpec
from pgberth.container.state import TenantState
from pgberth.container.supervisor import SystemdUnit
from pgberth.container.units import systemd_unit
from pgberth.model import layout
from pgberth.model.problems import Problem
from pgberth.model.tenant import Tenant

START_SECONDS = 60  # crash recovery included
GATE_SECONDS = 30
KILL_SECONDS = 5  # what a server that never answered gets to end by itself


@dataclass(frozen=True)
class ContainerLaunch:
    """
    + spec: what the spec file says of the container; of passwords, which are changed without one, it says nothing
    + arguments: of `podman run`, image and command included
    + unit: of the account's systemd; its file is "" where podman alone starts it
    + files: name in the tenant's etc/ -> text
    """

    spec: Mapping[str, Any]
    bindir: str
    arguments: tuple[str, ...]
    unit: SystemdUnit
    files: Mapping[str, str]

    @property
    def hash(self) -> str:
        return str(self.spec.get("hash", ""))

    @property
    def port(self) -> int:
        return int(self.spec["port"])

    @classmethod
    def desired(cls, spec: ContainerSpec) -> ContainerLaunch:
        """The container that the inventory wants, on the generation that lives."""
        body = {
            "generation": spec.generation,
            "image": spec.image.id,
            "port": spec.tenant.port,
            "profile": spec.tenant.profile_name,
            "supervisor": spec.supervisor,
            "hash": spec.hash,
            "rollout": spec.rollout_hash,
            **({"listen": spec.tenant.listen.published} if spec.tenant.listen is not None else {}),
        }
        unit = systemd_unit(spec)
        return cls(body, spec.image.bindir, tuple(spec.arguments()), unit, spec.files)

    def to_body(self) -> dict[str, Any]:
        return {**vars(self), "unit": vars(self.unit)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> ContainerLaunch:
        """Raises KeyError, TypeError or ValueError where it is none."""
        given = {**body, "arguments": tuple(body["arguments"]), "unit": SystemdUnit(**body["unit"])}
        for number in ("generation", "port"):
            if type(given["spec"][number]) is not int:
                raise ValueError(f"{number} is no number")
        return cls(**given)

    def written(self, context: TenantContext, found: Mapping[str, Any]) -> Commands:
        """
        What lies beside the container is this one's. The spec file comes last: it says what should run.

        + found: the spec file's body as it is
        """
        name = context.tenant.name
        etc, body = layout.etc(name), self.body(found)
        files = [
            File(f"{etc}/{file}", text, "0700" if file.endswith(".sh") else "0600") for file, text in self.files.items()
        ]
        if found != body:
            files.append(File(layout.spec_file(name), spec_text(body)))
        if files:
            yield context.write_files(*files)

    def body(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The spec file's body with this container in it."""
        return {**{key: value for key, value in found.items() if key not in ("retired", "listen")}, **self.spec}

    def start(self, context: TenantContext, seconds: int = START_SECONDS) -> StringCommand:
        """The container is made anew, and its server answers on its socket within the seconds."""
        script, arguments = commands.script("container/start.sh"), self._told(context.tenant, seconds)
        return context.change(script, *arguments, timeout=seconds + 90, stdin=self.unit.text)

    def swap(
        self, context: TenantContext, *, stop_seconds: int = STOP_TIMEOUT, seconds: int = GATE_SECONDS
    ) -> StringCommand:
        """
        The same where another one runs, which is stopped first.

        One command for both: whoever kills its operator in between does not leave the tenant without a container.
        """
        name = context.tenant.name
        stop = commands.script("container/stop.sh")
        script = (
            f"{_THERE}(\nset -- {name} {stop_seconds:d}\n{stop}) < /dev/null || exit 1\n"
            f"{commands.script('container/start.sh')}"
        )
        timeout = stop_seconds + seconds + 90
        return context.change(script, *self._told(context.tenant, seconds), timeout=timeout, stdin=self.unit.text)

    def _told(self, tenant: Tenant, seconds: int) -> list[str]:
        volume, log = layout.volume(tenant.name, int(self.spec["generation"])), layout.log(tenant.name)
        first = [tenant.name, self.bindir, f"{self.port:04X}", str(seconds), volume, log, self.unit.file]
        return [*first, *self.arguments]


def spec_text(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True) + "\n"


# Nothing is stopped for a container that could not start. Arguments: as start.sh has them.
_THERE = f"""[ -d "{layout.VOLUMES}/$5/_data" ] || podman volume exists "$5" || {{
  printf '%s: its volume %s is gone\\nHINT: nothing was stopped; runbooks/volume-is-gone.md\\n' "$1" "$5" >&2
  exit 1; }}
"""
_OF_THE_CONTAINER = ("generation", "image", "port", "profile", "supervisor", "hash", "rollout", "listen")

# Each file on a line: its name, and what is in it as base64.
_READ = """cd "$1" && shift || exit 1
for file in "$@"; do [ ! -f "$file" ] || printf '%s %s\\n' "$file" "$(base64 -w 0 < "$file")"; done
cd && for file in QUADLETS/pgberth-NAME.container UNITS/pgberth-NAME.service; do
  [ ! -f "$file" ] || printf '%s %s\\n' "$file" "$(base64 -w 0 < "$file")"
done
"""


def running(context: TenantContext, state: TenantState, files: Mapping[str, str]) -> ContainerLaunch | Problem:
    """
    The container that runs, as it was made, with the files that lie beside it.

    + files: the names of those that a container takes up at its start
    """
    name, container = context.tenant.name, state.container
    units = {"QUADLETS": layout.QUADLETS, "UNITS": layout.UNITS, "NAME": name}
    script = _READ
    for word, place in units.items():
        script = script.replace(word, place)
    names = [f"etc/{file}" for file in files]
    done, output = host.run_shell_command(commands.shell(script, layout.directory(name), *names, timeout=20))
    if not done or container is None or not container.arguments:
        return Problem(f"{name}: what its container was made of cannot be read: {output.stderr}", "run it again")
    found = {file: base64.b64decode(text).decode() for file, _, text in map(_parted, output.stdout_lines)}
    missing = [file for file in names if file not in found]
    if missing:
        hint = "run deploy/provision.py; if that does not bring it back, runbooks/recycle-went-back.md"
        return Problem(f"{name}: {', '.join(missing)} of the running container is gone", hint)
    etc = {file.removeprefix("etc/"): found.pop(file) for file in names}
    unit = next((SystemdUnit(file, text.rstrip("\n")) for file, text in found.items()), SystemdUnit("", ""))
    bindir = container.labels.get(layout.BINDIR_LABEL, "")
    told = {key: state.spec[key] for key in _OF_THE_CONTAINER if key in state.spec}
    spec = {**told, "hash": container.spec_hash, "image": container.image}
    return ContainerLaunch(spec, bindir, container.arguments, unit, etc)


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(" ")
