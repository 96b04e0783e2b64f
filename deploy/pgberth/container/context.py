"""One tenant during one run: what is known of it, and the commands that change it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from io import StringIO
from typing import Any

from pyinfra import host, state
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.commands import File
from pgberth.container.activity import ServerObservation, activity_now
from pgberth.container.outage import outage
from pgberth.container.state import ContainerState, TenantState
from pgberth.machine.facts import MachineProfile
from pgberth.model import layout
from pgberth.model.diagnosis import UNKNOWN, diagnose, problem
from pgberth.model.problems import Problem, Refused
from pgberth.model.secret import Secret
from pgberth.model.server import Server
from pgberth.model.tenant import Tenant
from pgberth.report.receipt import Receipt


class TenantObservation(FactBase[TenantState | None]):
    """Everything about one tenant; None where it could not be asked. One command, about 60 ms."""

    def command(self, tenant: str) -> StringCommand:
        return commands.shell(
            commands.script("container/observe.sh"),
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
            raise FactProcessError(f"unexpected answer from observe.sh: {error!r}") from error

    @staticmethod
    def default() -> TenantState | None:
        return None


class TenantContext:
    """
    A tenant on its machine during one run.

    It is observed once, and again after each change whose outcome is uncertain. Only what our own command wrote is
    certain: the run lock, which is taken before the first observation, excludes other writers.

    + probe: SQL whose rows, JSON objects, answer what the database rooms ask
    + receipt: the record of this run
    + passwords: kind of password -> what its external source gives
    + certificate: kind of file -> its text, of an external certificate
    + ports: that tenants of the inventory ask for on this machine
    """

    def __init__(
        self,
        tenant: Tenant,
        probe: str = "",
        *,
        receipt: Receipt | None = None,
        passwords: Mapping[str, Secret] | None = None,
        certificate: Mapping[str, str] | None = None,
        ports: frozenset[int] = frozenset(),
    ):
        self.tenant = tenant
        self.probe = probe
        self.receipt = receipt or Receipt("", tenant.name, tenant.rings, tenant.port)
        self.passwords = passwords or {}
        self.certificate = certificate
        self.ports = ports
        self.changed = False
        self._observed: TenantState | None = None
        self._observed_executing = False
        self._before: TenantState | None = None
        self._secrets: dict[str, Secret] = {}

    def __repr__(self) -> str:
        return f"TenantContext({self.tenant.name})"

    @property
    def name(self) -> str:
        return self.tenant.name

    def observe(self) -> TenantState:
        """The tenant's state, remembered until something changes."""
        # What was observed while changes were detected is outdated when they are made.
        if self._observed is None or self._observed_executing != state.is_executing:
            before = self._before if self._observed_executing == state.is_executing else None
            self._observed_executing, self._before = state.is_executing, None
            self._observed = (self._observe_server(before) if before is not None else None) or self._observe_all()
        # A tenant that could not be asked is not remembered: it is asked again.
        return self._observed if self._observed is not None else TenantState(None)

    def _observe_all(self) -> TenantState | None:
        """The whole state; None where the machine could not be asked."""
        try:
            observed: TenantState | None = host.get_fact(
                TenantObservation,
                tenant=self.name,
                _stdin=StringIO(self.probe),
                # In the prepare phase of a fresh machine there is nothing to ask yet.
                _ignore_errors=not state.is_executing,
            )
        except PyinfraError:
            # pyinfra has printed what went wrong, and that this was the run's last host: as a stack trace, from here.
            return None
        return observed

    def _observe_server(self, before: TenantState) -> TenantState | None:
        """The state after a change in the database alone; None where the server does not answer."""
        arguments = {"tenant": self.name, **self._inside(before), "_stdin": StringIO(self.probe)}
        output = host.get_fact(ServerObservation, **arguments, _ignore_errors=True)
        try:
            return before.with_answer(output)
        except ValueError:
            return None

    @staticmethod
    def _inside(observed: TenantState) -> dict[str, Any]:
        """How the container's own psql is reached."""
        container = observed.container
        return {"pid": container.pid, "bindir": container.bindir} if container is not None else {"pid": 0, "bindir": ""}

    def require_machine(self) -> MachineProfile:
        """Raises Refused where no deploy has prepared the machine."""
        profile = self.observe().machine_profile
        if profile is None:
            fact = f"{self.name}: machine {self.tenant.machine.name} is not ready for tenants"
            raise Refused.because(fact, "run the deploy once without --limit; it prepares the machine")
        return profile

    def require_own_data(self) -> None:
        """Raises Refused where what the running container serves is not shown to be this tenant's data."""
        observed = self.observe()
        if why := observed.foreign_data(self.name):
            generation = observed.container.generation if observed.container is not None else ""
            fact = f"{self.name}: its volume {self.name}-data-g{generation} {why}"
            raise Refused.because(fact, "nothing was sent to its server; runbooks/foreign-volume.md")

    def require_server(self) -> Server:
        """Raises Refused where the server does not answer, with the reason that can be seen from outside."""
        self.require_own_data()
        server = self.observe().server
        if server is None:
            raise Refused([self.not_answering()])
        return server

    def outage(self) -> Problem | None:
        """What keeps the tenant's clients out, None where nothing does."""
        return outage(self.name, self.port, self.observe())

    def not_answering(self) -> Problem:
        """Why the tenant's server does not answer."""
        return self.outage() or Problem(f"{self.name}: its server answers again", "run it again")

    @property
    def port(self) -> int:
        """The port on which the server listens now. A new port in the inventory takes effect at the next recycle."""
        return self.observe().spec.port or self.tenant.port

    @property
    def login(self) -> str:
        """The role that the app logs in as now."""
        return self.observe().spec.app_login

    def invalidate(self) -> None:
        """Something is about to change: what was observed is outdated."""
        self.changed = True
        self._observed = self._before = None

    def invalidate_server(self) -> None:
        """The same, where only the database changes."""
        observed = self._observed or self._before
        self.invalidate()
        if observed is not None and observed.running:
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
        A script that changes this tenant, under its command lock.

        + after: what an observation would find afterwards, where that is certain. A command that fails ends the
          tenant's run, so that nothing relies on it then
        """
        self.invalidate()
        self._observed = after
        return commands.under_command_lock(self.name, text, *arguments, timeout=timeout, stdin=stdin)

    def run(self, command: StringCommand) -> None:
        """
        Run a command at once, for work that continues whether it succeeds or not.

        A command that an operation yields ends the operation when it fails. Raises Refused: one problem for each line
        that the command printed on stderr, HINTs left out.
        """
        done, output = command.execute(state, host, {})
        if not done:
            self.invalidate()  # whatever it was expected to leave
            facts = [line for line in output.stderr_lines if not line.startswith("HINT: ")]
            raise Refused(Problem(fact) for fact in facts or ["a command failed and did not say why"])

    def superuser(self, script: str, timeout: int = 120) -> StringCommand:
        """
        A psql script as the superuser over the socket. It comes on stdin, so that no argv holds any of it.

        Raises Refused where the server has another's data.
        """
        self.require_own_data()
        observed = self.observe()
        inside = self._inside(observed)
        self.invalidate_server()
        arguments = layout.container(self.name), str(inside["pid"]), inside["bindir"], "postgres"
        text = commands.script("container/psql.sh")
        command = commands.under_command_lock(self.name, text, *arguments, timeout=timeout, stdin=script)
        return self.explained(command, observed.container)

    def explained(self, command: StringCommand, container: ContainerState | None) -> StringCommand:
        """
        A command that asks the server, and that fails with the cause, the session behind it and the page that fits.

        + container: whose server that is
        """
        return commands.ExplainedCommand(command, partial(self._explain, container))

    def _explain(self, container: ContainerState | None, said: str) -> Problem | None:
        """What a failed command's output means, where it is one of the causes that we know."""
        known = diagnose(said) is not UNKNOWN
        return problem(self.name, said, activity=activity_now(self.name, container)) if known else None

    def write(self, path: str, text: str, mode: str = "0600") -> StringCommand:
        """Replace a file of this tenant atomically; the text travels on stdin."""
        return self.write_files(File(path, text, mode))

    def write_files(self, *files: File) -> StringCommand:
        """Replace files of this tenant, each atomically, in this order."""
        observed = self._observed
        self.invalidate()
        for file in files:
            path = file.path.removeprefix(f"{layout.directory(self.name)}/")
            observed = observed.with_file(path, file.text, file.mode) if observed is not None else None
        self._observed = observed
        return commands.write_files(self.name, files)

    def secret(self, kind: str) -> Secret | None:
        """The stored secret of that kind, e.g. "app", that the spec file names; None where there is none."""
        return self.stored(self.observe().spec.secret_names.get(kind, ""))

    def stored(self, name: str) -> Secret | None:
        """The secret in that file, e.g. "app-v2"; None where there is none."""
        if name not in self._secrets:
            self._secrets = self._read_secrets()
        return self._secrets.get(name)

    def _read_secrets(self) -> dict[str, Secret]:
        """Name -> secret. Not by a fact: pyinfra prints what facts return at -vvv."""
        script = commands.script("container/read-secrets.sh")
        done, output = host.run_shell_command(commands.shell(script, layout.secrets(self.name), timeout=10))
        read = [line.split(maxsplit=1) for line in output.stdout_lines] if done else []
        return {line[0]: Secret(line[1]) for line in read if len(line) == 2}
