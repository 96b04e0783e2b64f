"""
Everything that starts one particular container of a tenant, as a value: the running one, or the desired one.

What a recycle may have to bring back is kept whole before anything is changed: the container as it was created, not as
this release would create it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.commands import Commands, File
from pgberth.container.context import TenantContext
from pgberth.container.spec import STOP_TIMEOUT, ContainerSpec
from pgberth.container.supervisor import SystemdUnit
from pgberth.container.units import systemd_unit
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.spec_file import SpecFile

START_SECONDS = 60  # crash recovery included
GATE_SECONDS = 30
KILL_SECONDS = 5  # until a server that never answered is killed


@dataclass(frozen=True)
class ContainerLaunch:
    """
    + spec: the spec file's part about the container; passwords, which change without one, are not in it
    + arguments: of `podman run`, image and command included
    + unit: of the account's systemd; its file is "" where podman alone starts the container
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
        """The container that the inventory asks for, on the live generation."""
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
        return cls(body, spec.image.bindir, tuple(spec.arguments()), systemd_unit(spec), spec.files)

    def to_body(self) -> dict[str, Any]:
        return {**vars(self), "unit": vars(self.unit)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> ContainerLaunch:
        """Raises KeyError, TypeError or ValueError where the body is another's."""
        fields = {**body, "arguments": tuple(body["arguments"]), "unit": SystemdUnit(**body["unit"])}
        for number in ("generation", "port"):
            if type(fields["spec"][number]) is not int:
                raise ValueError(f"{number} is not a number")
        return cls(**fields)

    def spec_file(self, existing: SpecFile) -> SpecFile:
        """The spec file with this container in it."""
        return existing.without("retired", "listen").updated(self.spec)

    def write_files(self, context: TenantContext) -> Commands:
        """Its configuration and the spec file, which comes last: it says what should run."""
        existing, files = context.observe().spec, etc_files(context.name, self.files)
        spec = self.spec_file(existing)
        if spec != existing:
            files.append(File(layout.spec_file(context.name), spec.text()))
        if files:
            yield context.write_files(*files)

    def start(self, context: TenantContext, seconds: int = START_SECONDS) -> StringCommand:
        """`podman run`, or the unit that runs it; the server answers on its socket within the seconds."""
        script, arguments = commands.script("container/start.sh"), self.start_arguments(context.name, seconds)
        return context.change(script, *arguments, timeout=seconds + 90, stdin=self.unit.text)

    def swap(
        self, context: TenantContext, *, stop_seconds: int = STOP_TIMEOUT, seconds: int = GATE_SECONDS
    ) -> StringCommand:
        """The same where another container runs, which is stopped first."""
        parts = [commands.script(f"container/{name}.sh") for name in ("swap", "stop", "start")]
        stop = f'(\nset -- "$1" "$stop_seconds"\n{parts[1]}) < /dev/null || exit 1\n'
        return context.change(
            f"{parts[0]}{stop}{parts[2]}",
            *(str(stop_seconds), *self.start_arguments(context.name, seconds)),
            timeout=stop_seconds + seconds + 90,
            stdin=self.unit.text,
        )

    def start_arguments(self, tenant: str, seconds: int) -> list[str]:
        """Arguments of start.sh."""
        volume, log = layout.volume(tenant, int(self.spec["generation"])), layout.log(tenant)
        first = [tenant, self.bindir, f"{self.port:04X}", str(seconds), volume, log, self.unit.file]
        return [*first, *self.arguments]


def etc_files(tenant: str, texts: Mapping[str, str]) -> list[File]:
    """Files that the container mounts. + texts: name -> text"""
    place = layout.etc(tenant)
    return [File(f"{place}/{name}", text, f"0{file_mode(name)}") for name, text in texts.items()]


def file_mode(name: str) -> str:
    """The mode of a file that the container mounts."""
    return "700" if name.endswith(".sh") else "600"


def running_launch(context: TenantContext, files: Mapping[str, str]) -> ContainerLaunch:
    """
    The container that runs, as it was created, with the files beside it.

    + files: the names of those that a container reads at its start

    Raises Refused where it cannot be read.
    """
    name, observed = context.name, context.observe()
    container, unit = observed.container, layout.unit(name)
    names = [f"etc/{file}" for file in files]
    units = [f"{layout.QUADLETS}/{unit}.container", f"{layout.UNITS}/{unit}.service"]
    script = commands.script("container/read-files.sh")
    done, output = host.run_shell_command(
        commands.shell(script, layout.directory(name), str(len(names)), *names, *units, timeout=20)
    )
    if not done or container is None or not container.arguments:
        raise Refused.because(f"{name}: its container's definition cannot be read: {output.stderr}", "run it again")
    found = {file: base64.b64decode(text).decode() for file, _, text in (_part(line) for line in output.stdout_lines)}
    if missing := [file for file in names if file not in found]:
        hint = "run deploy/provision.py; if that does not bring it back, runbooks/recycle-went-back.md"
        raise Refused.because(f"{name}: {', '.join(missing)} of the running container is gone", hint)
    etc = {file.removeprefix("etc/"): found.pop(file) for file in names}
    definition = next((SystemdUnit(file, text.rstrip("\n")) for file, text in found.items()), SystemdUnit())
    spec = {**observed.spec.of_the_container, "hash": container.spec_hash, "image": container.image}
    return ContainerLaunch(spec, container.bindir, container.arguments, definition, etc)


def _part(line: str) -> tuple[str, str, str]:
    return line.partition(" ")
