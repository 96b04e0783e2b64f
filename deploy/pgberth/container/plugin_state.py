"""A tenant's memory plugin on its machine, as one observation found it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.container.sidecar import PluginImage
from pgberth.container.state import run_arguments, sections_of
from pgberth.model import layout
from pgberth.model.tenant import Tenant


@dataclass(frozen=True)
class PluginState:
    """
    A memory plugin on its machine.

    + image: the inventory's image as the machine has it; None where it is not there
    + running: whether its container runs
    + spec_hash: what that was created from, "" where there is none
    + labelled: the tenant that its container names, "" where there is none
    + port: of loopback where that was started to listen, 0 where there is none
    + health: the first line of its answer to GET /v1/health
    + arguments: of the `podman run` that created it; hooks: the directory of its OCI hooks, "" for none
    + runs, command: the id of the image that it runs, and what of it
    """

    image: PluginImage | None = None
    running: bool = False
    spec_hash: str = ""
    labelled: str = ""
    health: str = ""
    arguments: tuple[str, ...] = ()
    hooks: str = ""
    runs: str = ""
    command: tuple[str, ...] = ()
    port: int = 0

    @property
    def healthy(self) -> bool:
        return self.running and self.health.startswith("HTTP/") and " 200" in self.health

    @property
    def fault(self) -> str:
        """Why it is not healthy, in a few words."""
        return f"GET /v1/health gives {self.health or 'no answer'}" if self.running else "it does not run"

    @classmethod
    def parse(cls, output: list[str]) -> PluginState:
        """Raises ValueError, LookupError, TypeError or AttributeError where it is not observe-sidecar.sh's output."""
        sections = sections_of(output)
        container: dict[str, Any] = (json.loads(sections["container"] or "[]") or [{}])[0]
        config = container.get("Config", {})
        labels, created = config.get("Labels") or {}, config.get("CreateCommand") or []
        return cls(
            image=_image((json.loads(sections["image"] or "[]") or [None])[0]),
            running=container.get("State", {}).get("Status") == "running",
            spec_hash=labels.get(layout.SPEC_LABEL, ""),
            labelled=labels.get(layout.TENANT_LABEL, "") if container else "",
            health=sections["health"],
            arguments=run_arguments(created),
            hooks=next((word.partition("=")[2] for word in created if word.startswith("--hooks-dir=")), ""),
            runs="sha256:" + container.get("Image", "").removeprefix("sha256:") if container else "",
            command=tuple(config.get("Cmd") or ()),
            port=_port(container),
        )


def _port(container: dict[str, Any]) -> int:
    """The first port of loopback that it publishes."""
    published = (container.get("HostConfig") or {}).get("PortBindings") or {}
    return next((int(one["HostPort"]) for places in published.values() for one in places or []), 0)


def _image(inspected: dict[str, Any] | None) -> PluginImage | None:
    if inspected is None:
        return None
    command = (inspected["Config"].get("Entrypoint") or []) + (inspected["Config"].get("Cmd") or [])
    return PluginImage("sha256:" + inspected["Id"].removeprefix("sha256:"), tuple(command))


class PluginObservation(FactBase[PluginState | None]):
    """A tenant's memory plugin; None where it could not be asked."""

    def command(self, container: str, image: str) -> StringCommand:
        text = commands.script("container/health.sh") + commands.script("container/observe-sidecar.sh")
        return commands.shell(text, container, image, timeout=60)

    def process(self, output: list[str]) -> PluginState:
        try:
            return PluginState.parse(output)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise FactProcessError(f"unexpected answer from observe-sidecar.sh: {error!r}") from error

    @staticmethod
    def default() -> PluginState | None:
        return None


def observe_plugin(tenant: Tenant) -> PluginState | None:
    """The tenant's memory plugin now; None where it has none, or could not be asked."""
    sidecar = tenant.sidecar
    if sidecar is None:
        return None
    place = {"container": layout.sidecar(tenant.name), "image": sidecar.image}
    found: PluginState | None = host.get_fact(PluginObservation, **place, _ignore_errors=True)
    return found
