"""The memory plugin that runs beside a tenant's server, as an inventory declares it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgberth.model.names import port_fault

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")


@dataclass(frozen=True)
class Sidecar:
    """
    A memory plugin in a separate container.

    + image: its name or id in the store of the service account, which must already have it
    + port: the port of the machine's loopback where it listens
    + required: whether a deploy fails where it is not healthy; otherwise the receipt notes it
    """

    image: str = ""
    port: int = 0
    required: bool = False


def sidecar_fault(sidecar: object) -> str | None:
    """The rule that this sidecar violates, or None where it is valid."""
    if sidecar is None:
        return None
    if not isinstance(sidecar, Sidecar):
        return "a Sidecar(image=..., port=...)"
    if not isinstance(sidecar.image, str) or not _REFERENCE.fullmatch(sidecar.image):
        return "a Sidecar whose image is an image's name or id"
    if rule := port_fault(sidecar.port):
        return f"a Sidecar whose port is {rule}"
    return None if isinstance(sidecar.required, bool) else "a Sidecar whose required is True or False"
