"""Where a tenant's server listens beyond loopback, as an inventory states it: over TLS, or not at all."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

# A host's name as certificates and URLs have it.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class Listen:
    """
    An address beside loopback, on the tenant's port, for sessions with TLS alone.

    + address: of its machine, IPv4
    + name: what clients call that address, and what the certificate says; the address itself where there is none
    + certificate, key: files in PEM on the machine that runs pyinfra, where they come from elsewhere; otherwise the
      tenant has a certificate authority of its own
    + ca: the file clients are to trust then; without it, whatever their system trusts
    """

    address: str = ""
    name: str = ""
    certificate: str = ""
    key: str = ""
    ca: str = ""

    @property
    def host(self) -> str:
        """What stands in a URL, and in the certificate."""
        return self.name or self.address

    @property
    def given(self) -> bool:
        """Whether the certificate comes from elsewhere."""
        return bool(self.certificate)

    @property
    def file(self) -> str:
        """
        The name of the certificate's file, its key in it: one file cannot be half of two.

        Another name for everything that clients see: a server keeps the file it was started with until it is recycled.
        """
        told = json.dumps([self.address, self.name, self.given, bool(self.ca)])
        return f"server-{hashlib.sha256(told.encode()).hexdigest()[:8]}.pem"

    @property
    def published(self) -> dict[str, object]:
        """
        What the spec file says of a server that listens there.

        + own: whether the authority is the tenant's; ca: whether there is a file of whom clients trust
        """
        trusted = bool(self.ca) or not self.given
        return {"address": self.address, "host": self.host, "own": not self.given, "ca": trusted, "file": self.file}


def listen_fault(listen: object) -> str | None:
    """The rule that this `listen` violates, or None where it is valid."""
    if listen is None:
        return None
    if not isinstance(listen, Listen):
        return 'a Listen("10.0.0.5"): beyond loopback there is TLS, or nothing'
    told = (listen.address, listen.name, listen.certificate, listen.key, listen.ca)
    if not all(isinstance(word, str) for word in told):
        return "a Listen whose fields are text"
    if rule := _address_fault(listen.address):
        return f"a Listen whose address is {rule}"
    if listen.name and (not _NAME.fullmatch(listen.name) or _is_address(listen.name)):
        return "a Listen whose name is a host's, in small letters, or none"
    if bool(listen.certificate) != bool(listen.key):
        return "a Listen with certificate and key, or neither"
    if listen.ca and not listen.certificate:
        return "a Listen with ca= beside certificate= alone: without one the tenant has an authority of its own"
    if wrong := [path for path in told[2:] if path and not path.startswith("/")]:
        return f"a Listen whose files have absolute paths, unlike {wrong[0]!r}"
    return None


def _address_fault(text: str) -> str | None:
    rule = "one IPv4 address of the machine"
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return rule
    if address.is_loopback:
        return f"{rule} beyond loopback, where it listens anyway"
    return f"{rule}, not all of them or a group's" if address.is_unspecified or address.is_multicast else None


def _is_address(text: str) -> bool:
    return text.replace(".", "").isdigit()


def described(found: Mapping[str, object]) -> str | None:
    """The same in words; None where it does not listen."""
    return f"{found['host']} at {found['address']}, {'own' if found['own'] else 'given'} certificate" if found else None
