"""What one look at a tenant found: values only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pgberth.machine.facts import MachineProfile
from pgberth.model import layout


@dataclass(frozen=True)
class ContainerState:
    """
    A container, as podman tells it.

    + status: podman's word: created, running, exited, ...
    + process: Cap*, NoNewPrivs and Seccomp of the running server, as /proc tells them
    + supervised: whether the server runs inside its unit of the account's systemd
    + arguments: of the `podman run` that made it
    + attended: whether its monitor lives and its port is published; without them it runs for nobody
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
    reachable: bool = True
    supervised: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def spec_hash(self) -> str:
        return self.labels.get(layout.SPEC_LABEL, "")

    @property
    def generation(self) -> str:
        return self.labels.get(layout.GENERATION_LABEL, "")


@dataclass(frozen=True)
class TenantState:
    """
    A tenant on its machine.

    + ready: what machine work recorded; None on a machine that was never made ready
    + spec: the tenant's spec file, {} where there is none
    + secrets: file names
    + files: path below the tenant's directory -> SHA-256 in hex
    + units: path below the account's home -> SHA-256 in hex, for each file by which a systemd starts the tenant
    + container: None where there is none
    + unknown: podman's own words where it could not tell
    + marker: the volume's marker as the running container sees it
    + server: the probe's answer; None where the server is down or has no tenant database yet
    + server_said: psql's own words in that case
    + no_volume: whether podman certainly has none of the tenant's
    + modes: path below the tenant's directory -> mode, as "600"
    """

    machine_profile: MachineProfile | None
    spec: Mapping[str, Any]
    secrets: frozenset[str]
    files: Mapping[str, str]
    container: ContainerState | None
    unknown: str
    marker: Mapping[str, Any]
    server: Mapping[str, Any] | None
    server_said: str
    modes: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    no_volume: bool = False

    @property
    def home(self) -> str:
        """The service account's; "" on a machine that was never made ready."""
        return self.machine_profile.home if self.machine_profile is not None else ""

    @property
    def generation(self) -> int | None:
        return self.spec.get("generation")

    def with_file(self, path: str, text: str, mode: str) -> TenantState | None:
        """
        The same once a file below the tenant's directory is written; None where that may change more than the file.

        + mode: as "0600"
        """
        if path == layout.SPEC:
            return replace(self, spec=_spec(text))
        if path.startswith("secrets/"):
            return replace(self, secrets=self.secrets | {path.removeprefix("secrets/")})
        if self.container is not None and path.startswith("etc/"):
            return None  # a server may read it
        files = {**self.files, path: hashlib.sha256(text.encode()).hexdigest()}
        return replace(self, files=files, modes={**self.modes, path: mode.removeprefix("0")})

    def with_server(self, output: list[str]) -> TenantState | None:
        """The same with a later answer of the server; None where it is none. Raises ValueError where it is not JSON."""
        server, _ = _server("\n".join(output))
        return replace(self, server=server, server_said="") if server is not None else None

    @classmethod
    def parse(cls, output: list[str]) -> TenantState:
        """Raises ValueError, LookupError, TypeError or AttributeError where the output is not look.sh's."""
        sections = sections_of(output)
        told = sections["container"]
        server, said = _server(sections.get("server", ""))
        return cls(
            machine_profile=MachineProfile.from_json(sections["machine"]) if sections["machine"] else None,
            spec=_spec(sections["spec"]),
            secrets=frozenset(sections["secrets"].split()),
            files=_digests(sections["files"]),
            container=_container(told, sections) if told.startswith("[") else None,
            unknown=told.removeprefix("unknown ") if told.startswith("unknown") else "",
            marker=_json_object(sections.get("marker", "")),
            server=server,
            server_said=said,
            modes=_digests(sections.get("modes", "")),
            units=_digests(sections["units"]),
            no_volume=sections.get("volumes") == "none",
        )


def sections_of(output: list[str]) -> dict[str, str]:
    """What a look of ours said, by its `--- name` lines."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output:
        if line.startswith("--- "):
            lines = found.setdefault(line[4:], [])
        else:
            lines.append(line)
    return {name: "\n".join(body).strip() for name, body in found.items()}


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}  # half a file of another hand: treated as none, and written anew
    return found if isinstance(found, dict) else {}


def _spec(text: str) -> Mapping[str, Any]:
    found = _json_object(text)
    return found if all(type(found.get(number)) is int for number in ("generation", "port")) else {}


def _digests(text: str) -> dict[str, str]:
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in text.splitlines())}


def _container(text: str, sections: Mapping[str, str]) -> ContainerState:
    told = json.loads(text)[0]
    state, labels = told["State"], told["Config"]["Labels"] or {}
    return ContainerState(
        status=state["Status"],
        pid=state["Pid"],
        exit_code=state["ExitCode"],
        image="sha256:" + told["Image"].removeprefix("sha256:"),
        labels=labels,
        mounts=tuple(told["Mounts"] or ()),
        read_only=told["HostConfig"]["ReadonlyRootfs"],
        privileged=told["HostConfig"]["Privileged"],
        process=dict(line.replace(":", "", 1).split(maxsplit=1) for line in sections.get("process", "").splitlines()),
        reachable=bool(sections.get("attended", "yes")),
        supervised=bool(sections.get("supervised")),
        arguments=_arguments(told["Config"].get("CreateCommand") or []),
    )


def _arguments(command: list[str]) -> tuple[str, ...]:
    # Options of podman's own may stand before the word.
    return tuple(command[command.index("run") + 1 :]) if "run" in command else ()


def _server(text: str) -> tuple[Mapping[str, Any] | None, str]:
    # Answers of two roles, on a line each; with one of them alone there is none.
    answers = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    found = {name: value for answer in answers for name, value in answer.items()}
    if "ledger" in found and "version" in found:
        return found, ""
    return None, "\n".join(line for line in text.splitlines() if not line.startswith("{"))
