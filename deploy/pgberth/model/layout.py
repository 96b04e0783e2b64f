"""Names and places: what a tenant's things are called on its machine. A named thing never changes (see generations)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgberth.model.roles import APP_LOGINS, SECRETS

HOME = ".local/share/pgberth"  # below the service account's home
SPEC = "spec.json"  # below a tenant's directory
MACHINE_FILE = f"{HOME}/machine.json"
QUADLETS = ".config/containers/systemd"
UNITS = ".config/systemd/user"
VOLUMES = ".local/share/containers/storage/volumes"  # where podman has them unless it is configured otherwise

TENANT_LABEL = "pgberth.tenant"
SPEC_LABEL = "pgberth.spec"
BINDIR_LABEL = "pgberth.bindir"
GENERATION_LABEL = "pgberth.generation"

# Inside the container.
VOLUME_MOUNT = "/var/lib/postgresql"
ETC_MOUNT = "/etc/pgberth"
MARKER = "pgberth.initialised"
HBA, HBA_TLS = "pg_hba.conf", "pg_hba_tls.conf"  # the second for a server that listens beyond loopback


def directory(tenant: str) -> str:
    """The tenant's directory, relative to the account's home."""
    return f"{HOME}/tenants/{tenant}"


def spec_file(tenant: str) -> str:
    return f"{directory(tenant)}/{SPEC}"


def lock_file(tenant: str) -> str:
    # Beside the tenants' directories, not inside: a lock must outlive what it guards.
    return f"{HOME}/locks/{tenant}"


def secret_file(tenant: str, name: str) -> str:
    return f"{directory(tenant)}/secrets/{name}"


def etc(tenant: str) -> str:
    return f"{directory(tenant)}/etc"


def passfile(tenant: str) -> str:
    return f"{directory(tenant)}/passfile"


def tls(tenant: str) -> str:
    """The tenant's own certificate authority, and what clients trust."""
    return f"{directory(tenant)}/tls"


def root_file(tenant: str, *, own: bool) -> str:
    """What clients trust: the own authority, or what the operator gave with a certificate from elsewhere."""
    return f"{tls(tenant)}/{'ca' if own else 'given'}.crt"


def connection_file(tenant: str) -> str:
    return f"{directory(tenant)}/connection.env"


def recycling_file(tenant: str) -> str:
    """What a recycle under way would bring back; there is none at any other time."""
    return f"{directory(tenant)}/recycling.json"


def receipts(tenant: str) -> str:
    return f"{directory(tenant)}/receipts"


def container(tenant: str) -> str:
    return tenant


def unit(tenant: str) -> str:
    """The tenant's service of the account's systemd; the prefix keeps it apart from everybody else's."""
    return f"pgberth-{tenant}"


def unit_wanted(tenant: str) -> str:
    """The link by which a plain unit is started at boot."""
    return f"{UNITS}/default.target.wants/{unit(tenant)}.service"


def sidecar(tenant: str) -> str:
    # No tenant's name has an underscore, so no tenant's container can be called this.
    return f"{tenant}_memory-plugin"


def sidecar_etc(tenant: str) -> str:
    return f"{directory(tenant)}/sidecar"


def sidecar_secrets(tenant: str) -> str:
    """What the names of its secrets in podman's store begin with."""
    return f"pgberth_{tenant}_"


def log(tenant: str) -> str:
    # Beside the container, not inside: what a server said last must outlive its container.
    return f"{directory(tenant)}/server.log"


def init_container(tenant: str) -> str:
    return f"{tenant}-init"


def secret_names(spec: Mapping[str, object]) -> dict[str, str]:
    """Secret kind -> file name, as the tenant's spec file has it; version 1 where there is none yet."""
    told = spec.get("secrets")
    named = told if isinstance(told, dict) else {}
    return {kind: _secret_name(named.get(kind)) or secret(kind, 1) for kind in SECRETS}


def secret_version(spec: Mapping[str, object], kind: str) -> int:
    """The number in the name of the secret that the spec file names."""
    return int(secret_names(spec)[kind].rpartition("-v")[2])


def app_login(spec: Mapping[str, object]) -> str:
    """The login role that the app's secret is for; the other one is idle, but for the length of a rotation."""
    told = spec.get("app_login")
    return told if isinstance(told, str) and told in APP_LOGINS else APP_LOGINS[0]


def previous_login(spec: Mapping[str, object]) -> str | None:
    """The app's login role whose clients a rotation still waits for; None where none is under way."""
    told = spec.get("former_login")
    return told if isinstance(told, str) and told in APP_LOGINS and told != app_login(spec) else None


def secret_roles(spec: Mapping[str, object]) -> dict[str, str]:
    """Secret kind -> the role that logs in with it."""
    return {**SECRETS, "app": app_login(spec)}


def _secret_name(told: object) -> str | None:
    # Nothing that could lead out of the directory: root reads by these names, and the account wrote them.
    return told if isinstance(told, str) and re.fullmatch(r"[a-z]+-v[0-9]+", told) else None


def volume(tenant: str, generation: int) -> str:
    return f"{tenant}-data-g{generation}"


def secret(kind: str, version: int) -> str:
    return f"{kind}-v{version}"


def secret_kind(name: str) -> str:
    """The kind that a secret's file name begins with."""
    return name.rpartition("-v")[0]


def data_directory(major: int) -> str:
    """PGDATA below the mount, by major as the official images do, so that a mount fits several majors."""
    return f"{VOLUME_MOUNT}/{major}/data"
