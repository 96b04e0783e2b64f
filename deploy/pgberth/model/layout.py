"""Names and places: what a tenant's things are called on its machine. A named thing never changes (see generations)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgberth.model.roles import SECRETS

HOME = ".local/share/pgberth"  # below the service account's home
MACHINE_FILE = f"{HOME}/machine.json"

TENANT_LABEL = "pgberth.tenant"
SPEC_LABEL = "pgberth.spec"
BINDIR_LABEL = "pgberth.bindir"
GENERATION_LABEL = "pgberth.generation"

# Inside the container.
VOLUME_MOUNT = "/var/lib/postgresql"
ETC_MOUNT = "/etc/pgberth"
MARKER = "pgberth.initialised"


def directory(tenant: str) -> str:
    """The tenant's directory, relative to the account's home."""
    return f"{HOME}/tenants/{tenant}"


def spec_file(tenant: str) -> str:
    return f"{directory(tenant)}/spec.json"


def lock_file(tenant: str) -> str:
    # Beside the tenants' directories, not inside: a lock must outlive what it guards.
    return f"{HOME}/locks/{tenant}"


def secret_file(tenant: str, name: str) -> str:
    return f"{directory(tenant)}/secrets/{name}"


def etc(tenant: str) -> str:
    return f"{directory(tenant)}/etc"


def passfile(tenant: str) -> str:
    return f"{directory(tenant)}/passfile"


def connection_file(tenant: str) -> str:
    return f"{directory(tenant)}/connection.env"


def receipts(tenant: str) -> str:
    return f"{directory(tenant)}/receipts"


def container(tenant: str) -> str:
    return tenant


def init_container(tenant: str) -> str:
    return f"{tenant}-init"


def secret_names(spec: Mapping[str, object]) -> dict[str, str]:
    """Secret kind -> file name, as the tenant's spec file has it; version 1 where there is none yet."""
    told = spec.get("secrets")
    named = told if isinstance(told, dict) else {}
    return {kind: _secret_name(named.get(kind)) or secret(kind, 1) for kind in SECRETS}


def _secret_name(told: object) -> str | None:
    # Nothing that could lead out of the directory: root reads by these names, and the account wrote them.
    return told if isinstance(told, str) and re.fullmatch(r"[a-z]+-v[0-9]+", told) else None


def volume(tenant: str, generation: int) -> str:
    return f"{tenant}-data-g{generation}"


def secret(kind: str, version: int) -> str:
    return f"{kind}-v{version}"


def data_directory(major: int) -> str:
    """PGDATA below the mount, by major as the official images do, so that a mount fits several majors."""
    return f"{VOLUME_MOUNT}/{major}/data"
