"""Nouns: what a tenant is, in one look."""

from __future__ import annotations

from io import StringIO

from pyinfra import host, state
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.container.state import TenantState
from pgberth.model import layout
from pgberth.model.secret import Secret
from pgberth.model.tenant import Tenant


class TenantLook(FactBase[TenantState | None]):
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


_PSQL = """exec podman exec -i "$1" "$2/psql" -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres -d postgres -f -
"""
_READ_SECRETS = 'cd "$1" && for name in *; do printf "%s %s\\n" "$name" "$(cat "$name")"; done'


class Berth:
    """
    A tenant on its machine during one run. Looked at once, and again after each change.

    + probe: SQL whose one row, a JSON object, tells what the database rooms want to know
    """

    def __init__(self, tenant: Tenant, probe: str):
        self.tenant = tenant
        self.probe = probe
        self.changed = False
        self._seen: TenantState | None = None
        self._seen_executing = False
        self._secrets: dict[str, Secret] = {}

    def __repr__(self) -> str:
        return f"Berth({self.tenant.name})"

    def look(self) -> TenantState | None:
        """The tenant's state, remembered until something changes."""
        # What was seen while changes were detected is old by the time they are made.
        if self._seen is None or self._seen_executing != state.is_executing:
            self._seen_executing = state.is_executing
            try:
                self._seen = host.get_fact(
                    TenantLook,
                    tenant=self.tenant.name,
                    _stdin=StringIO(self.probe),
                    # In the prepare phase of a fresh machine there is nothing to ask yet.
                    _ignore_errors=not state.is_executing,
                )
            except PyinfraError:
                # pyinfra has told what went wrong, and that this was the run's last host: as a stack trace, from here.
                self._seen = None
        return self._seen

    @property
    def port(self) -> int:
        """Where the server listens now; a port newly given in the inventory is taken up by a recycle."""
        seen = self.look()
        return int(seen.spec.get("port", self.tenant.port)) if seen is not None else self.tenant.port

    def forget(self) -> None:
        """What was seen holds no longer: something is about to change."""
        self.changed = True
        self._seen = None

    def change(self, text: str, *arguments: str, timeout: int = 120, stdin: str = "") -> StringCommand:
        """A script that changes this tenant, under its command lock; what was seen before is forgotten."""
        self.forget()
        return commands.locked(self.tenant.name, text, *arguments, timeout=timeout, stdin=stdin)

    def superuser(self, script: str) -> StringCommand:
        """A psql script as the superuser over the socket; it comes on stdin, so that nothing of it is in an argv."""
        seen = self.look()
        labels = seen.container.labels if seen is not None and seen.container is not None else {}
        return self.change(_PSQL, layout.container(self.tenant.name), labels.get(layout.BINDIR_LABEL, ""), stdin=script)

    def write(self, path: str, text: str, mode: str = "0600") -> StringCommand:
        """Replace a file of this tenant atomically; the text travels on stdin."""
        self.forget()
        return commands.write_file(self.tenant.name, path, text, mode)

    def secret(self, kind: str) -> Secret | None:
        """The stored secret of that kind, e.g. "app", that the spec file names; None where there is none."""
        seen = self.look()
        name = layout.secret_names(seen.spec if seen is not None else {}).get(kind, "")
        if name not in self._secrets:
            self._secrets = self._read_secrets()
        return self._secrets.get(name)

    def _read_secrets(self) -> dict[str, Secret]:
        """Name -> secret, past pyinfra's facts: those print what they return at -vvv."""
        place = f"{layout.directory(self.tenant.name)}/secrets"
        done, output = host.run_shell_command(commands.shell(_READ_SECRETS, place, timeout=10))
        read = [line.split(maxsplit=1) for line in output.stdout_lines] if done else []
        return {line[0]: Secret(line[1]) for line in read if len(line) == 2}
