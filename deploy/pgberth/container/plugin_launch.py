"""Everything that starts one container of a memory plugin, as a value: the running one, or the desired one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra import host

from pgberth import commands
from pgberth.commands import Commands, File
from pgberth.container.context import TenantContext
from pgberth.container.launch import file_mode
from pgberth.container.plugin_state import PluginState
from pgberth.container.sidecar import UNREAD, URL_FILE, SidecarSpec, plugin_url, sidecar_unit, unit_name
from pgberth.container.supervisor import SystemdUnit
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.rendering.entrypoint import GATE


@dataclass(frozen=True)
class PluginLaunch:
    """
    + spec: the spec file's part about it: hash, image, port
    + command: what its image runs
    + arguments: of `podman run`, image and command included
    + hooks: the directory of its OCI hooks; "" for none
    + unit: of the account's systemd; its file is "" where podman alone starts it
    + files: name in the tenant's sidecar/ -> text
    """

    spec: Mapping[str, Any]
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    hooks: str
    unit: SystemdUnit
    files: Mapping[str, str]

    @classmethod
    def desired(cls, spec: SidecarSpec) -> PluginLaunch:
        """The one that the inventory asks for."""
        body = {"hash": spec.hash, "image": spec.image.id, "port": spec.sidecar.port}
        return cls(body, spec.image.command, tuple(spec.arguments()), spec.hooks, sidecar_unit(spec), spec.files)

    def to_body(self) -> dict[str, Any]:
        return {**vars(self), "unit": vars(self.unit)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> PluginLaunch:
        """Raises KeyError or TypeError where the body is another's."""
        words = {name: tuple(body[name]) for name in ("command", "arguments")}
        return cls(**{**body, **words, "unit": SystemdUnit(**body["unit"])})

    def write_files(self, context: TenantContext) -> Commands:
        """Its files, what it connects with, and the spec file."""
        name, directory = context.name, layout.sidecar_etc(context.name)
        files = [File(f"{directory}/{file}", text, f"0{file_mode(file)}") for file, text in self.files.items()]
        spec = context.observe().spec
        if spec and spec.sidecar != self.spec:
            files.append(File(layout.spec_file(name), spec.updated({"sidecar": dict(self.spec)}).text()))
        yield context.write_files(*url_files(context), *files)

    def start(self, context: TenantContext, *, required: bool) -> Commands:
        """
        It runs in a new container, whatever was there before.

        + required: whether it must be healthy within the gate's seconds
        """
        yield from self.write_files(context)
        name = context.name
        arguments = [
            *(name, layout.sidecar(name), unread_mark(name), str(self.spec["port"]), str(GATE)),
            *("yes" if required else "no", f"{unit_name(name)}.service", self.unit.file, self.hooks),
            *(str(self.spec["image"]), self.command[0]),
        ]
        script = commands.script("container/health.sh") + commands.script("container/start-sidecar.sh")
        yield context.change(script, *arguments, *self.arguments, timeout=150, stdin=self.unit.text)


def unread_mark(tenant: str) -> str:
    """It is there from before a URL is written until a plugin that read it is healthy: see UNREAD."""
    return f"{layout.sidecar_secrets(tenant)}/{UNREAD}"


def url_files(context: TenantContext) -> list[File]:
    """What the plugin connects with, behind the mark that nothing has read it, where it is another than before."""
    file = url_file(context)
    return [file] if has_current_url(context) else [File(unread_mark(context.name), ""), file]


def has_current_url(context: TenantContext) -> bool:
    """Whether a plugin has read the current URL: after a change of TLS the server refuses its connections."""
    file, files = url_file(context), context.observe().files
    read = {path.rpartition("/")[2]: found for path, found in files.items() if path.startswith("sidecar-secrets/")}
    return read.get(URL_FILE) == hashlib.sha256(file.text.encode()).hexdigest() and UNREAD not in read


def url_file(context: TenantContext) -> File:
    """What the plugin connects with: the app's current login, and where the server listens. Raises Refused."""
    password, observed = context.secret("app"), context.observe()
    if password is None:
        raise Refused.because(f"{context.name}: no stored password for {context.login}", "runbooks/secret-missing.md")
    podman, tls = context.require_machine().podman, bool(observed.spec.listening)
    url = plugin_url(podman, context.port, context.login, password, tls=tls)
    return File(f"{layout.sidecar_secrets(context.name)}/{URL_FILE}", f"{url.reveal()}\n", "0400")


def running_plugin(context: TenantContext, plugin: PluginState, spec: SidecarSpec) -> PluginLaunch | None:
    """
    The container that runs, as it was created, with the files beside it; None where none runs.

    + spec: the desired one, which has the same places

    Raises Refused where one runs and cannot be read: it could not be brought back.
    """
    if not plugin.running:
        return None
    names, unit = list(spec.files), f"{layout.UNITS}/{unit_name(context.name)}.service"
    script = commands.script("container/read-files.sh")
    directory = layout.sidecar_etc(context.name)
    done, output = host.run_shell_command(commands.shell(script, directory, str(len(names)), *names, unit, timeout=20))
    if not done or not plugin.arguments or not plugin.port:
        fact = f"{context.name}: its memory plugin runs, and what it was started from cannot be read"
        raise Refused.because(fact, "nothing was done; run it again; runbooks/sidecar-unhealthy.md")
    parts = (line.partition(" ") for line in output.stdout_lines)
    found = {file: base64.b64decode(text).decode() for file, _, text in parts}
    text = found.pop(unit, "")
    started = SystemdUnit(unit, text.rstrip("\n")) if text else SystemdUnit()
    body = {"hash": plugin.spec_hash, "image": plugin.runs, "port": plugin.port}
    return PluginLaunch(body, plugin.command, plugin.arguments, plugin.hooks, started, found)
