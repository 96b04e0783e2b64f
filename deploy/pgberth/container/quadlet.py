"""A tenant's container as a Quadlet unit: the same podman arguments, under the service account's own systemd."""

from __future__ import annotations

from pgberth.container.spec import STOP_TIMEOUT, ContainerSpec
from pgberth.model import layout
from pgberth.model.image import version_of

# 4.6 is the first that takes every key used here (podman's release notes).
QUADLET_FLOOR = (4, 6)

# What Quadlet says itself, or what systemd does in podman's place.
_OWN = ("--detach", "--name=", "--restart=")


def usable(podman: str, user_systemd: bool) -> bool:
    """Whether this machine's podman and systemd can carry units."""
    return user_systemd and version_of(podman) >= QUADLET_FLOOR


def unit(spec: ContainerSpec) -> str:
    """The text of the unit. Arguments go through PodmanArgs, so that there is one list of them and not two."""
    arguments = [argument for argument in spec.options() if not argument.startswith(_OWN)]
    lines = [
        "# Written by pgberth; edits are undone by the next recycle.",
        "[Unit]",
        f"Description=pgberth tenant {spec.tenant.name}",
        "",
        "[Container]",
        f"ContainerName={layout.container(spec.tenant.name)}",
        f"Image={spec.image.id}",
        *(f"PodmanArgs={_escaped(argument)}" for argument in arguments),
        "Exec=" + " ".join(_escaped(word) for word in spec.command()),
        "",
        "[Service]",
        "Restart=on-failure",
        # The guard's refusals: another server has the volume, or it was never initialised. Again would change nothing.
        "RestartPreventExitStatus=75 76",
        f"TimeoutStopSec={STOP_TIMEOUT + 10}",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
        # It listens on loopback only, and must not wait 90 seconds for a network nobody announces.
        "[Quadlet]",
        "DefaultDependencies=false",
    ]
    return "\n".join(lines) + "\n"


def _escaped(word: str) -> str:
    """One word for systemd: % begins a specifier there, and blanks, quotes and backslashes need quotes."""
    word = word.replace("%", "%%")
    if not any(special in word for special in " \t\"'\\"):
        return word
    return '"' + word.replace("\\", r"\\").replace('"', r"\"") + '"'
