"""What a tenant, an account and a port may be called, and why."""

from __future__ import annotations

import re

TENANT_RULE = "1 to 31 of a-z, 0-9 and -, starting with a letter, not ending with -"
_TENANT = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
_ACCOUNT = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")

# Words that PostgreSQL or this bundle gives a meaning of its own. The server takes some of them as quoted
# names without a word ("current_user" becomes a role), so they are refused by list.
RESERVED = frozenset(
    {"postgres", "template0", "template1", "public", "information-schema", "memory"}
    | {"none", "user", "current-user", "session-user", "current-role"}
    | {"all", "local", "localhost", "machine", "machines", "tenant", "canary", "production"}
)

THROWAWAY = "stage-a-"  # tenants that come and go with all they hold

LOCAL = "@local"  # the machine that pyinfra runs on

PORT_RULE = "a whole number from 1024 to 65535"


def tenant_name_fault(name: object) -> str | None:
    """
    The rule that a tenant's name breaks, or None.

    31 characters leave room for every suffix (`-data-g999999`) within PostgreSQL's and podman's 63; the server
    would cut a longer name with no more than a notice, so that two long names could meet.
    """
    # fullmatch: `$` also matches before a final newline, and would let "acme\n" in.
    if not isinstance(name, str) or not _TENANT.fullmatch(name):
        return TENANT_RULE
    if name in RESERVED or name.startswith(("pg-", THROWAWAY)):
        return "another: this one is reserved"
    return None


def account_fault(name: object) -> str | None:
    """The rule that an account's name breaks, or None."""
    if not isinstance(name, str) or not _ACCOUNT.fullmatch(name):
        return TENANT_RULE
    return "another: tenants do not run as root" if name == "root" else None


def port_fault(port: object) -> str | None:
    """
    The rule that a port breaks, or None.

    Only a real int counts: True is an int to Python, "5432" is text, and YAML 1.1 reads 54:32 as 3272.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1024 <= port <= 65535:
        return PORT_RULE
    return None


def machine_name_fault(name: object) -> str | None:
    """The rule that a machine's name or address breaks, or None."""
    if name == LOCAL or (isinstance(name, str) and _HOST.fullmatch(name)):
        return None
    return f"{LOCAL!r}, or a host name or address"


def text_fault(value: object) -> str | None:
    """The rule that a text which becomes an argument breaks, or None."""
    # A leading dash would be an option to whoever gets it.
    fine = isinstance(value, str) and value and not value.startswith("-") and value.isprintable()
    return None if fine else "text, not empty, not starting with -"


def ssh_port_fault(port: object) -> str | None:
    """The rule that a port of an sshd breaks, or None."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        return "a whole number from 1 to 65535"
    return None
