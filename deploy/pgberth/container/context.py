"""Nouns: what a tenant is, in one look."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from pyinfra import host, state
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.commands import File
from pgberth.container.state import TenantState
from pgberth.model import layout
from pgberth.model.roles import DATABASE
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant


class TenantObservation(FactBase[TenantState | None]):
    """Everything about one tenant; None where it could not be asked. One command, about 60 ms."""

    def command(self, tenant: str) -> StringCommand:
        return commands.shell(
            commands.script("container/look.sh"),
            layout.HOME,
            layout.directory(tenant),
            layout.container(tenant),
            f"{layout.VOLUME_MOUNT}/{layout.MARKER}",
            timeout=90,
        )

    def process(self, output: list[str]) -> TenantState:
        try:
            return TenantState.parse(output)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # Any other exception would end the run for every tenant.
            raise FactProcessError(f"unexpected answer from look.sh: {error!r}") from error

    @staticmethod
    def default() -> TenantState | None:
        return None


class ServerObservation(FactBase[list[str]]):
    """What the server of a running container answers to the probe, line by line; nothing where it does not."""

    def command(self, tenant: str, pid: int, bindir: str) -> StringCommand:
        told = layout.container(tenant), str(pid), bindir, DATABASE
        return commands.shell(f"({commands.script('container/psql.sh')}) 2>&1; exit 0", *told, timeout=40)

    def process(self, output: list[str]) -> list[str]:
        return output

    @staticmethod
    def default() -> list[str]:
        return []


_READ_SECRETS = 'cd "$1" && for name in *; do printf "%s %s\\n" "$name" "$(cat "$name")"; done'


class TenantContext:
    """
    A tenant on its machine during one run. Looked at once, and again after each change whose outcome is not certain.

    Certain is what a command has written by itself: the run's lock is taken before the first look, when whatever a
    killed run had left working has ended, so that nobody else changes the tenant meanwhile.

    + probe: SQL whose one row, a JSON object, tells what the database rooms want to know
    + given: kind of password -> what the source gives that the inventory names for it
    """

    def __init__(self, tenant: Tenant, probe: str, given: Mapping[str, Secret] | None = None):
        self.tenant = tenant
        self.probe = probe
        self.given = given or {}
        self.changed = False
        self._observed: TenantState | None = None
        self._observed_executing = False
        self._before: TenantState | None = None
        self._secrets: dict[str, Secret] = {}

    def __repr__(self) -> str:
        return f"Berth({self.tenant.name})"

    def observe(self) -> TenantState | None:
        """The tenant's state, remembered until something changes."""
        # What was seen while changes were detected is old by the time they are made.
        if self._observed is None or self._observed_executing != state.is_executing:
            before = self._before if self._observed_executing == state.is_executing else None
            self._observed_executing, self._before = state.is_executing, None
            self._observed = (self._server_again(before) if before is not None else None) or self._whole()
        return self._observed

    def _whole(self) -> TenantState | None:
        try:
            observed: TenantState | None = host.get_fact(
                TenantObservation,
                tenant=self.tenant.name,
                _stdin=StringIO(self.probe),
                # In the prepare phase of a fresh machine there is nothing to ask yet.
                _ignore_errors=not state.is_executing,
            )
        except PyinfraError:
            # pyinfra has told what went wrong, and that this was the run's last host: as a stack trace, from here.
            return None
        return observed

    def _server_again(self, before: TenantState) -> TenantState | None:
        """The state after a change in the database alone; None where the server does not tell."""
        told = self._inside(before)
        output = host.get_fact(ServerObservation, tenant=self.tenant.name, **told, _stdin=StringIO(self.probe))
        try:
            return before.with_server(output)
        except ValueError:
            return None

    @staticmethod
    def _inside(observed: TenantState | None) -> dict[str, Any]:
        """How the container's own psql is reached."""
        container = observed.container if observed is not None else None
        if container is None:
            return {"pid": 0, "bindir": ""}
        return {"pid": container.pid, "bindir": container.labels.get(layout.BINDIR_LABEL, "")}

    @property
    def port(self) -> int:
        """Where the server listens now; a port newly given in the inventory is taken up by a recycle."""
        observed = self.observe()
        return int(observed.spec.get("port", self.tenant.port)) if observed is not None else self.tenant.port

    @property
    def login(self) -> str:
        """The role the app logs in as now; the other is idle, but for the length of a rotation."""
        observed = self.observe()
        return layout.app_login(observed.spec if observed is not None else {})

    def invalidate(self) -> None:
        """What was seen holds no longer: something is about to change."""
        self.changed = True
        self._observed = self._before = None

    def invalidate_server(self) -> None:
        """The same, where only what is in the database changes."""
        observed = self._observed or self._before
        self.invalidate()
        if observed is not None and observed.container is not None and observed.container.running:
            self._before = observed

    def change(
        self,
        text: str,
        *arguments: str,
        timeout: int = 120,
        stdin: str | None = None,
        after: TenantState | None = None,
    ) -> StringCommand:
        """
        A script that changes this tenant, under its command lock; what was seen before is forgotten.

        + after: what a look would find once it is done, where that is certain. A command that fails ends the tenant's
          run, so that nobody acts on it then
        """
        self.invalidate()
        self._observed = after
        return commands.under_command_lock(self.tenant.name, text, *arguments, timeout=timeout, stdin=stdin)

    def now(self, command: StringCommand) -> list[str] | None:
        """
        Run a command at once, for work that has to go on whatever comes of it; None where it succeeded.

        A command that an operation yields ends the operation where it fails. The value is what it said.
        """
        done, output = host.run_shell_command(
            command, print_output=state.print_output, print_input=state.print_input, **command.connector_arguments
        )
        if done:
            return None
        self.invalidate()  # whatever it was expected to leave
        return output.stderr_lines or ["it failed without a word"]

    def superuser(self, script: str, timeout: int = 120) -> StringCommand:
        """A psql script as the superuser over the socket; it comes on stdin, so that nothing of it is in an argv."""
        told = self._inside(self.observe())
        self.invalidate_server()
        names = layout.container(self.tenant.name), str(told["pid"]), told["bindir"], "postgres"
        text = commands.script("container/psql.sh")
        return commands.under_command_lock(self.tenant.name, text, *names, timeout=timeout, stdin=script)

    def write(self, path: str, text: str, mode: str = "0600") -> StringCommand:
        """Replace a file of this tenant atomically; the text travels on stdin."""
        return self.write_files(File(path, text, mode))

    def write_files(self, *files: File) -> StringCommand:
        """Replace files of this tenant, each atomically, in this order."""
        observed = self._observed
        self.invalidate()
        for file in files:
            path = file.path.removeprefix(f"{layout.directory(self.tenant.name)}/")
            observed = observed.with_file(path, file.text, file.mode) if observed is not None else None
        self._observed = observed
        return commands.write_files(self.tenant.name, files)

    def secret(self, kind: str) -> Secret | None:
        """The stored secret of that kind, e.g. "app", that the spec file names; None where there is none."""
        observed = self.observe()
        return self.stored(layout.secret_names(observed.spec if observed is not None else {}).get(kind, ""))

    def stored(self, name: str) -> Secret | None:
        """The secret in that file, e.g. "app-v2"; None where there is none."""
        if name not in self._secrets:
            self._secrets = self._read_secrets()
        return self._secrets.get(name)

    def _read_secrets(self) -> dict[str, Secret]:
        """Name -> secret, past pyinfra's facts: those print what they return at -vvv."""
        place = f"{layout.directory(self.tenant.name)}/secrets"
        done, output = host.run_shell_command(commands.shell(_READ_SECRETS, place, timeout=10))
        read = [line.split(maxsplit=1) for line in output.stdout_lines] if done else []
        return {line[0]: Secret(line[1]) for line in read if len(line) == 2}
