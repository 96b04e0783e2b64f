"""Verbs: a tenant's memory plugin runs, or is gone. It holds no data, so that it may be made anew at any time."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pyinfra import host, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container.facts import Berth
from pgberth.container.port import taken
from pgberth.container.sidecar import SCRIPT, PluginImage, SidecarSpec, definition, unit_name
from pgberth.container.state import sections_of
from pgberth.container.supervisor import supervisor_of
from pgberth.model import layout
from pgberth.model.listen import listening
from pgberth.model.problems import Problem
from pgberth.model.tenant import Tenant
from pgberth.rendering.entrypoint import GATE

_PAGE = "runbooks/sidecar-unhealthy.md"


class Record(Protocol):
    """Where a run keeps what it has to tell."""

    notes: list[str]
    did: dict[str, Any]


@dataclass(frozen=True)
class PluginState:
    """
    A memory plugin on its machine.

    + image: what the inventory's image is there; None where it is not
    + running: whether its container runs
    + spec_hash: what that was made from, "" where there is none
    + labelled: the tenant that its container names, "" where there is none
    + health: the first line of what GET /v1/health answers
    """

    image: PluginImage | None
    running: bool
    spec_hash: str
    labelled: str
    health: str

    @property
    def healthy(self) -> bool:
        return self.running and self.health.startswith("HTTP/") and " 200" in self.health

    @property
    def ill(self) -> str:
        """Why it is not healthy, in a few words."""
        return f"GET /v1/health gives {self.health or 'no answer'}" if self.running else "it does not run"

    @classmethod
    def parse(cls, output: list[str]) -> PluginState:
        """Raises ValueError, LookupError, TypeError or AttributeError where the output is not look-sidecar.sh's."""
        told = sections_of(output)
        container: dict[str, Any] = (json.loads(told["container"] or "[]") or [{}])[0]
        labels = container.get("Config", {}).get("Labels") or {}
        return cls(
            image=_image((json.loads(told["image"] or "[]") or [None])[0]),
            running=container.get("State", {}).get("Status") == "running",
            spec_hash=labels.get(layout.SPEC_LABEL, ""),
            labelled=labels.get(layout.TENANT_LABEL, "") if container else "",
            health=told["health"],
        )


def _image(told: dict[str, Any] | None) -> PluginImage | None:
    if told is None:
        return None
    command = (told["Config"].get("Entrypoint") or []) + (told["Config"].get("Cmd") or [])
    return PluginImage("sha256:" + told["Id"].removeprefix("sha256:"), tuple(command))


class PluginLook(FactBase[PluginState | None]):
    """A tenant's memory plugin; None where it could not be asked."""

    def command(self, container: str, image: str, port: int) -> StringCommand:
        text = commands.script("container/health.sh") + commands.script("container/look-sidecar.sh")
        return commands.shell(text, container, image, str(port), timeout=60)

    def process(self, output: list[str]) -> PluginState:
        try:
            return PluginState.parse(output)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise FactProcessError(f"unexpected answer from look-sidecar.sh: {error!r}") from error

    @staticmethod
    def default() -> PluginState | None:
        return None


def look(tenant: Tenant) -> PluginState | None:
    """The tenant's memory plugin now."""
    wanted = tenant.sidecar
    if wanted is None:
        return None
    place = {"container": layout.sidecar(tenant.name), "image": wanted.image, "port": wanted.port}
    found: PluginState | None = host.get_fact(PluginLook, **place, _ignore_errors=not state.is_executing)
    return found


@operation()
def plugin_running(berth: Berth, record: Record, anew: bool = False) -> Commands:
    """
    The tenant's memory plugin runs as the inventory has it, or is gone where the inventory has none.

    + record: is told how it stands
    + anew: make it anew though it is healthy; otherwise that is `pending: recycle`

    One that does not run or is not healthy is made anew, and has 30 seconds to become so.
    """
    seen = berth.look()
    if seen is None or seen.ready is None or seen.container is None or not seen.container.running:
        return
    tenant = berth.tenant
    if tenant.sidecar is None:
        if "sidecar" in seen.spec:
            yield from removed(berth)
        return
    found = look(tenant)
    wanted = _wanted(berth, found)
    if isinstance(wanted, Problem):
        yield commands.refuse(wanted)
        return
    # With the other kind of session the server lets it in no more, whatever it says of its health.
    noted = seen.spec["sidecar"] if isinstance(seen.spec.get("sidecar"), dict) else {}
    shut_out = bool(noted) and bool(noted.get("tls")) != wanted.tls
    if found is not None and found.healthy and not anew and not shut_out:
        if found.spec_hash != wanted.hash:
            record.notes.append(
                f"memory plugin: pending: recycle (spec {found.spec_hash} runs, {wanted.hash} is wanted)"
            )
        _told(record, found)
        return
    if not (found is not None and found.running) and (problem := _port_taken(tenant, wanted.sidecar.port)):
        yield commands.refuse(problem)
        return
    yield from _made(berth, wanted)
    if state.is_executing:
        _told(record, look(tenant))


def remade(berth: Berth) -> Commands:
    """The tenant's memory plugin, where it has one, is made anew with the password that the spec file names by now."""
    if berth.tenant.sidecar is None:
        return
    wanted = _wanted(berth, look(berth.tenant))
    if isinstance(wanted, Problem):
        yield commands.refuse(wanted)
    else:
        yield from _made(berth, wanted)


def _port_taken(tenant: Tenant, port: int) -> Problem | None:
    text = commands.script("container/port.sh")
    done, output = host.run_shell_command(commands.shell(text, str(port), f"{layout.HOME}/tenants", timeout=20))
    return taken(replace(tenant, port=port), output.stdout_lines, ()) if done else None


def _wanted(berth: Berth, found: PluginState | None) -> SidecarSpec | Problem:
    tenant, seen = berth.tenant, berth.look()
    password = berth.secret("app")
    if seen is None or seen.ready is None or tenant.sidecar is None or found is None:
        return Problem(f"{tenant.name}: its memory plugin could not be asked for", "run the deploy again")
    if found.image is None:
        fact = f"{tenant.name}: image {tenant.sidecar.image} of its memory plugin is not on {tenant.machine.name}"
        return Problem(fact, f"bring it into the store of {tenant.machine.account}: {_PAGE}")
    if not found.image.command:
        fact = f"{tenant.name}: image {tenant.sidecar.image} of its memory plugin has no command to run"
        return Problem(fact, f"give it an ENTRYPOINT or a CMD: {_PAGE}")
    if found.labelled not in ("", tenant.name):
        fact = f"{tenant.name}: container {layout.sidecar(tenant.name)!r} exists and is not this tenant's"
        return Problem(fact, "remove it if nobody needs it: runbooks/foreign-container.md")
    if password is None:
        return Problem(f"{tenant.name}: no stored password for {berth.login}", "runbooks/secret-missing.md")
    ready = seen.ready
    supervisor = supervisor_of(ready.podman, ready.units)
    place = (ready.home, ready.podman, ready.limits, supervisor)
    return SidecarSpec(
        tenant, tenant.sidecar, found.image, berth.port, berth.login, password, *place, bool(listening(seen.spec))
    )


def _made(berth: Berth, wanted: SidecarSpec) -> Commands:
    name = berth.tenant.name
    yield berth.write(f"{layout.sidecar_etc(name)}/{SCRIPT}", wanted.script, "0700")
    tls = {"tls": True} if wanted.tls else {}
    yield from _noted(berth, {"hash": wanted.hash, "image": wanted.image.id, "port": wanted.sidecar.port, **tls})
    unit = definition(wanted)
    told = [
        *(name, layout.sidecar(name), wanted.secret, layout.sidecar_secrets(name), str(wanted.sidecar.port), str(GATE)),
        *("yes" if wanted.sidecar.required else "no", f"{unit_name(name)}.service", unit.file if unit else ""),
    ]
    script = commands.script("container/health.sh") + commands.script("container/start-sidecar.sh")
    stdin = f"{wanted.url.reveal()}\n{unit.text if unit else ''}"
    yield berth.change(script, *told, *wanted.arguments(), timeout=150, stdin=stdin)


def removed(berth: Berth) -> Commands:
    """The tenant's memory plugin is gone, its secret and its unit with it."""
    name = berth.tenant.name
    told = [layout.sidecar(name), layout.sidecar_secrets(name), f"{unit_name(name)}.service", layout.sidecar_etc(name)]
    yield berth.change(commands.script("container/remove-sidecar.sh"), *told)
    yield from _noted(berth, None)


def _noted(berth: Berth, sidecar: dict[str, Any] | None) -> Commands:
    """What should run beside the server stands in the tenant's spec file, too."""
    seen = berth.look()
    spec = dict(seen.spec) if seen is not None else {}
    wanted = {**spec, "sidecar": sidecar} if sidecar else {key: spec[key] for key in spec if key != "sidecar"}
    if spec and wanted != spec:
        yield berth.write(layout.spec_file(berth.tenant.name), json.dumps(wanted, indent=2, sort_keys=True) + "\n")


def _told(record: Record, found: PluginState | None) -> None:
    well = found is not None and found.healthy
    record.did["memory_plugin"] = "healthy" if well else "degraded"
    if not well:
        why = found.ill if found is not None else "it could not be asked"
        record.notes.append(f"memory plugin: degraded: {why}; {_PAGE}")


@operation()
def plugin_answers(berth: Berth, record: Record) -> Commands:
    """The memory plugin is healthy. Where it is not, a required one fails the run and another is noted; no change."""
    tenant = berth.tenant
    found = look(tenant) if state.is_executing else None
    if tenant.sidecar is None or not state.is_executing:
        return
    _told(record, found)
    if tenant.sidecar.required and (found is None or not found.healthy):
        why = found.ill if found is not None else "it could not be asked"
        yield commands.refuse(Problem(f"{tenant.name}: its memory plugin is not healthy: {why}", _PAGE))
