"""Names and places of a tenant's things on its machine. A named thing never changes: see generations."""

from __future__ import annotations

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


def secrets(tenant: str) -> str:
    return f"{directory(tenant)}/secrets"


def secret_file(tenant: str, name: str) -> str:
    return f"{secrets(tenant)}/{name}"


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
    return f"{directory(tenant)}/sidecar-secrets"


def sidecar_stored_secrets(tenant: str) -> str:
    """What the names of its secrets in podman's store begin with, where an earlier release put them."""
    return f"pgberth_{tenant}_"


def log(tenant: str) -> str:
    # Beside the container, not inside: what a server said last must outlive its container.
    return f"{directory(tenant)}/server.log"


def init_container(tenant: str) -> str:
    return f"{tenant}-init"


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
