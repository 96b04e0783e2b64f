"""What a tenant costs without the product: the same containers, server and SQL, by one shell script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pgberth import commands
from pgberth.container.context import TenantContext
from pgberth.container.desired import desired_spec
from pgberth.container.spec import ContainerSpec, hardening
from pgberth.container.state import TenantState
from pgberth.database.access import access_sql
from pgberth.machine.facts import MachineProfile
from pgberth.migrations.source import load
from pgberth.model import layout, scram
from pgberth.model.image import Image
from pgberth.model.roles import PASSWORD_KINDS
from pgberth.model.secret import Secret
from pgberth.model.tenant import HEAD, Tenant
from pgberth.model.tenant import Machine as TargetMachine
from pgberth.rendering.configuration import reload_files, restart_files

# Arguments: name, volume, bindir, init.sh, the SQL, then those of the one-shot `podman run`, --, those of the server's.
_SCRIPT = """set -eu
name=$1 volume=$2 bindir=$3 init=$4 sql=$5; shift 5
podman volume create "$volume" >/dev/null
first=
while [ "$1" != -- ]; do first="$first '$1'"; shift; done
shift
eval podman run "$first" < "$init" >/dev/null
podman run "$@" >/dev/null
pid=$(podman container inspect --format '{{.State.Pid}}' "$name")
ask() { nsenter -t "$pid" -U -m --preserve-credentials "$bindir/psql" -XAtq -h /run/postgresql -U postgres "$@"; }
until ask -d postgres -c 'SELECT 1' >/dev/null 2>&1; do sleep 0.02; done
ask -v ON_ERROR_STOP=1 -d postgres -f - < "$sql" >/dev/null
"""


class Ended(Protocol):
    """What a command of the account's said."""

    @property
    def out(self) -> str: ...


class Account(Protocol):
    """Runs a command as the tenants' account, in its home. Raises where it fails."""

    def __call__(self, *command: str, stdin: str = "") -> Ended: ...


@dataclass(frozen=True)
class Floor:
    """The script for one tenant, with all it reads in place."""

    account: Account
    name: str
    volume: str
    arguments: tuple[str, ...]

    def make(self) -> None:
        """From nothing to a server with roles, extension and tables."""
        self.account("/bin/sh", "-c", _SCRIPT, "floor", self.name, self.volume, *self.arguments)

    def stop(self) -> None:
        """
        It works no more; its files stay.

        For some minutes after a thousand files are removed, ext4 makes new ones at a third of its speed, since it gives
        no fresh inode away again: whoever is measured next would pay.
        """
        self.account("podman", "rm", "--force", "--time", "0", self.name)


class NewTenant(TenantContext):
    """A tenant of which nothing exists yet, on a machine that is ready for it."""

    def __init__(self, tenant: Tenant, machine_profile: MachineProfile):
        super().__init__(tenant)
        self._machine_profile = machine_profile

    def observe(self) -> TenantState:
        return TenantState(self._machine_profile)


def floor_for(account: Account, name: str, port: int, image: Image | None = None) -> Floor:
    """The script that makes the server a tenant of ours would get, under the same name, port and flags."""
    machine_profile = MachineProfile.from_json(account("cat", layout.MACHINE_FILE).out)
    assert machine_profile is not None
    tenant = Tenant(
        name, TargetMachine("@local", "pgberth"), port, dict.fromkeys(["memory_plugin"], HEAD), image or Image()
    )
    spec = desired_spec(NewTenant(tenant, machine_profile))
    etc = {f"{layout.etc(tenant.name)}/{name}": text for name, text in _files(tenant).items()}
    place = layout.directory(tenant.name)
    read = {f"{place}/init.sh": commands.script("container/init.sh"), f"{place}/all.sql": _sql(tenant)}
    for path, text in {**etc, **read}.items():
        account("/bin/sh", "-c", 'mkdir -p "$(dirname "$1")"; cat > "$1"; chmod 0700 "$1"', "w", path, stdin=text)
    volume = layout.volume(tenant.name, 1)
    home = account("pwd").out.strip()
    paths = [f"{home}/{path}" for path in read]
    arguments = (spec.image.bindir, *paths, *_initialise(spec, volume), "--", *spec.arguments())
    return Floor(account, tenant.name, volume, arguments)


def _files(tenant: Tenant) -> dict[str, str]:
    return {**restart_files(tenant), **reload_files(tenant)}


def _initialise(spec: ContainerSpec, volume: str) -> list[str]:
    image = spec.image
    marker = f"{layout.VOLUME_MOUNT}/{layout.MARKER}"
    return [
        *("--rm", "--interactive", "--pull=never", "--network=none", *hardening(image)),
        f"--user={image.uid}:{image.gid}",
        f"--volume={volume}:{layout.VOLUME_MOUNT}:U,Z",
        *("--entrypoint=/bin/sh", image.id, "-s"),
        *(image.bindir, layout.data_directory(image.major), marker, spec.tenant.name, "1"),
    ]


def _sql(tenant: Tenant) -> str:
    """Roles and extension as the superuser, then every migration as their owner."""
    verifiers = {role: scram.verifier(Secret(f"bench-{kind}")) for role, kind in PASSWORD_KINDS.items()}
    text = access_sql(tenant, verifiers).reveal()
    text += "SET ROLE memory_owner;\nSET search_path = pg_catalog, pg_temp;\n"
    return text + "".join(step.up for component in tenant.ordered_components for step in load(component))
