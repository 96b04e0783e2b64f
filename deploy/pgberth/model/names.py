"""The rules for the names of tenants, machines and accounts, and for ports; with their reasons."""

from __future__ import annotations

import re

TENANT_RULE = "1 to 31 of a-z, 0-9 and -, starting with a letter, not ending with -"
_TENANT = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
_ACCOUNT = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")

# Words with a meaning for PostgreSQL or for this bundle. The server would accept some of them as quoted names without a
# warning ("current_user" becomes a role), so the list refuses them.
RESERVED = frozenset(
    {"postgres", "template0", "template1", "public", "information-schema", "memory"}
    | {"none", "user", "current-user", "session-user", "current-role"}
    | {"all", "local", "localhost", "machine", "machines", "tenant", "canary", "production"}
)

THROWAWAY = "stage-a-"  # prefix of tenants that a verb creates and removes, data included

LOCAL = "@local"  # the machine that pyinfra runs on

PORT_RULE = "a whole number from 1024 to 65535"


def tenant_name_fault(name: object) -> str | None:
    """
    The rule that a tenant's name breaks, or None.

    31 characters leave room for every suffix (`-data-g999999`) within the 63 of PostgreSQL and podman. The server would
    cut a longer name with only a notice, so that two long names could become one.
    """
    # fullmatch: `$` also matches before a final newline, and would accept "acme\n".
    return None if isinstance(name, str) and _TENANT.fullmatch(name) else TENANT_RULE


def is_reserved(name: str) -> bool:
    """Whether a tenant must not have this name, since it has another meaning."""
    return name in RESERVED or name.startswith(("pg-", THROWAWAY))


def account_fault(name: object) -> str | None:
    """The rule that this account name violates, or None where it is valid."""
    if not isinstance(name, str) or not _ACCOUNT.fullmatch(name):
        return TENANT_RULE
    return "an account other than root, which runs no tenants" if name == "root" else None


def port_fault(port: object) -> str | None:
    """
    The rule that a port breaks, or None.

    Only a real int counts: Python takes True for an int, "5432" is text, and YAML 1.1 reads 54:32 as 3272.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1024 <= port <= 65535:
        return PORT_RULE
    return None


def machine_name_fault(name: object) -> str | None:
    """The rule that this machine name or address violates, or None where it is valid."""
    if name == LOCAL or (isinstance(name, str) and _HOST.fullmatch(name)):
        return None
    return f"{LOCAL!r}, or a host name or address"


def text_fault(value: object) -> str | None:
    """The rule that this command argument violates, or None where it is valid."""
    # A leading dash would make it an option.
    valid = isinstance(value, str) and value and not value.startswith("-") and value.isprintable()
    return None if valid else "text, not empty, not starting with -"


def ssh_port_fault(port: object) -> str | None:
    """The rule that this sshd port violates, or None where it is valid."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        return "a whole number from 1 to 65535"
    return None
