"""What one observation of a tenant found: values only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pgberth.machine.facts import MachineProfile
from pgberth.model import layout
from pgberth.model.server import Server
from pgberth.model.sessions import Activity
from pgberth.model.spec_file import SpecFile


@dataclass(frozen=True)
class ContainerState:
    """
    A container, as podman describes it.

    + status: podman's word: created, running, exited, ...
    + process: Cap*, NoNewPrivs and Seccomp of the running server, from /proc
    + supervised: whether the server runs inside its unit of the account's systemd
    + arguments: of the `podman run` that created it
    + unreachable: what died (server, monitor, port forwarder) where it runs and no client can reach it; "" otherwise
    """

    status: str
    pid: int
    exit_code: int
    image: str
    labels: Mapping[str, str]
    mounts: tuple[Mapping[str, Any], ...]
    read_only: bool
    privileged: bool
    process: Mapping[str, str] = field(default_factory=dict)
    unreachable: str = ""
    supervised: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def reachable(self) -> bool:
        return not self.unreachable

    @property
    def spec_hash(self) -> str:
        return self.labels.get(layout.SPEC_LABEL, "")

    @property
    def generation(self) -> str:
        return self.labels.get(layout.GENERATION_LABEL, "")

    @property
    def bindir(self) -> str:
        """Where the server's programs are inside."""
        return self.labels.get(layout.BINDIR_LABEL, "")


@dataclass(frozen=True)
class TenantState:
    """
    A tenant on its machine.

    + machine_profile: what machine work recorded; None where the machine was never prepared, or could not be asked
    + spec: the tenant's spec file
    + secrets: file names
    + files: path below the tenant's directory -> SHA-256 in hex
    + units: path below the account's home -> SHA-256 in hex, for each file by which a systemd starts the tenant
    + container: None where there is none
    + unknown: podman's own words where it could not describe the container
    + marker: the volume's marker as the running container sees it
    + answer: the probe's; None where the server is down, or has no tenant database yet
    + server_error: psql's own words in that case
    + part: what the server answered before it failed, in that case
    + free_kib: on the file system of the account's volumes; None where it is not known
    + cluster: the system identifier in the control file of the volume's cluster, as the running container sees it
    + volumes: names of the tenant's volumes, whatever is in them; None where they are not known without asking podman
    + modes: path below the tenant's directory -> mode, as "600"
    """

    machine_profile: MachineProfile | None
    spec: SpecFile = field(default_factory=SpecFile)
    secrets: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    container: ContainerState | None = None
    unknown: str = ""
    marker: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] | None = None
    server_error: str = ""
    part: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    free_kib: int | None = None
    cluster: str = ""
    volumes: tuple[str, ...] | None = None

    @property
    def ready(self) -> bool:
        """Whether the machine is prepared for tenants."""
        return self.machine_profile is not None

    @property
    def home(self) -> str:
        """The service account's; "" on a machine that was never prepared."""
        return self.machine_profile.home if self.machine_profile is not None else ""

    @property
    def no_volume(self) -> bool:
        """Whether there is certainly no volume of the tenant."""
        return self.volumes == ()

    def foreign_data(self, tenant: str) -> str:
        """
        Why what the running container serves is not shown to be the tenant's data; "" where it is, or nothing runs.

        The same rule as foreign_data in lib.sh, which looks at the volume before a container is started.
        """
        if self.container is None or not self.container.running:
            return ""
        marker = self.marker
        if not marker and self.container.unreachable and self.answer is None:
            return ""  # nobody serves it: lib.sh looks before it is started again
        if not marker:
            return "has no marker, or one that is not understood"
        if marker.get("tenant") != tenant:
            return f"was initialised for another: {json.dumps(dict(marker))}"
        if self.container.generation and str(marker.get("generation")) != self.container.generation:
            return f"has the marker of generation {marker.get('generation')}"
        served = {self.cluster, self.server.system_identifier if self.server is not None else self.cluster}
        if served != {str(marker.get("system_identifier"))}:
            found = ", ".join(sorted(served)).strip(", ") or "that cannot be read"
            return f"holds the cluster {found}, and its marker names {marker.get('system_identifier')}"
        return ""

    @property
    def running(self) -> bool:
        """Whether there is a container, and it runs."""
        return self.container is not None and self.container.running

    @property
    def activity(self) -> Activity:
        """Who is connected, also where the server then failed to answer the rest."""
        return Activity.parse(self.answer or self.part)

    @cached_property
    def server(self) -> Server | None:
        """None where the server is down, or has no tenant database yet."""
        return Server.parse(self.answer, self.spec) if self.answer is not None else None

    def with_file(self, path: str, text: str, mode: str) -> TenantState | None:
        """
        The state after a file below the tenant's directory is written; None where more than the file may change.

        + mode: as "0600"
        """
        if path == layout.SPEC:
            return replace(self, spec=SpecFile.parse(text))
        if path.startswith("secrets/"):
            return replace(self, secrets=self.secrets | {path.removeprefix("secrets/")})
        if self.container is not None and path.startswith("etc/"):
            return None  # a server may read it
        files = {**self.files, path: hashlib.sha256(text.encode()).hexdigest()}
        return replace(self, files=files, modes={**self.modes, path: mode.removeprefix("0")})

    def with_answer(self, output: list[str]) -> TenantState | None:
        """The state with a later answer of the server; None without one. Raises ValueError where it is not JSON."""
        answer, _, _ = _answer("\n".join(output))
        return replace(self, answer=answer, server_error="", part={}) if answer is not None else None

    @classmethod
    def parse(cls, output: list[str]) -> TenantState:
        """From observe.sh's output. Raises ValueError, LookupError, TypeError or AttributeError for any other."""
        sections = sections_of(output)
        container = sections["container"]
        answer, part, error = _answer(sections.get("server", ""))
        return cls(
            machine_profile=MachineProfile.from_json(sections["machine"]) if sections["machine"] else None,
            spec=SpecFile.parse(sections["spec"]),
            secrets=frozenset(sections["secrets"].split()),
            files=_digests(sections["files"]),
            container=_container(container, sections) if container.startswith("[") else None,
            unknown=container.removeprefix("unknown ") if container.startswith("unknown") else "",
            marker=_json_object(sections.get("marker", "")),
            answer=answer,
            server_error=error,
            part=part,
            modes=_digests(sections.get("modes", "")),
            units=_digests(sections["units"]),
            free_kib=int(sections["disk"]) if sections.get("disk") else None,
            cluster=sections.get("cluster", ""),
            volumes=_volumes(sections.get("volumes", "")),
        )


def sections_of(output: list[str]) -> dict[str, str]:
    """The sections of an observation script's output, by their `--- name` lines."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output:
        if line.startswith("--- "):
            lines = sections.setdefault(line[4:], [])
        else:
            lines.append(line)
    return {name: "\n".join(body).strip() for name, body in sections.items()}


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        body = json.loads(text or "{}")
    except ValueError:
        return {}  # half a file: it counts as none, and is written again
    return body if isinstance(body, dict) else {}


def _volumes(text: str) -> tuple[str, ...] | None:
    return None if not text else () if text == "none" else tuple(text.split())


def _digests(text: str) -> dict[str, str]:
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in text.splitlines())}


def _container(text: str, sections: Mapping[str, str]) -> ContainerState:
    inspected = json.loads(text)[0]
    state, labels = inspected["State"], inspected["Config"]["Labels"] or {}
    return ContainerState(
        status=state["Status"],
        pid=state["Pid"],
        exit_code=state["ExitCode"],
        image="sha256:" + inspected["Image"].removeprefix("sha256:"),
        labels=labels,
        mounts=tuple(inspected["Mounts"] or ()),
        read_only=inspected["HostConfig"]["ReadonlyRootfs"],
        privileged=inspected["HostConfig"]["Privileged"],
        process=dict(line.replace(":", "", 1).split(maxsplit=1) for line in sections.get("process", "").splitlines()),
        unreachable=sections.get("unreachable", ""),
        supervised=bool(sections.get("supervised")),
        arguments=run_arguments(inspected["Config"].get("CreateCommand") or []),
    )


def run_arguments(command: list[str]) -> tuple[str, ...]:
    """The arguments of the `podman run` in a container's CreateCommand."""
    # podman's own options may stand before the word `run`.
    return tuple(command[command.index("run") + 1 :]) if "run" in command else ()


def _answer(text: str) -> tuple[Mapping[str, Any] | None, Mapping[str, Any], str]:
    """The answer, or the part that came and psql's words."""
    # Two roles answer, and the last of them comes last; one of them alone is not an answer.
    parts = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    answer = {name: value for part in parts for name, value in part.items()}
    if "ledger" in answer and "findings" in answer:
        return answer, {}, ""
    return None, answer, "\n".join(line for line in text.splitlines() if not line.startswith("{"))
