"""The container is the one that the spec file names, and as closed as it was created."""

from __future__ import annotations

from collections.abc import Iterator

from pgberth.checks.context import Check, CheckContext
from pgberth.model import layout

# As /proc/PID/status writes them: no capability at all, no new privileges, seccomp filter on.
_HARDENED = {"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}


def _spec(context: CheckContext) -> Iterator[str]:
    desired, found = context.state.spec.hash or None, context.container.spec_hash
    if desired != found:
        yield f"runs spec {found or 'without a label'}, its spec file says {desired}"


def _image(context: CheckContext) -> Iterator[str]:
    desired, found = context.state.spec.image or None, context.container.image
    if desired != found:
        yield f"runs image {found}, its spec file says {desired}"


def _hardened(context: CheckContext) -> Iterator[str]:
    for name, desired in _HARDENED.items():
        found = context.container.process.get(name)
        if found != desired:
            yield f"{name} of the server is {found}, wanted {desired}"
    if not context.container.read_only:
        yield "its root file system is writable"
    if context.container.privileged:
        yield "it is privileged"


def _supervised(context: CheckContext) -> Iterator[str]:
    # podman records the unit that ran it. Without one, a future unit is pending, not missing.
    unit = context.container.labels.get("PODMAN_SYSTEMD_UNIT")
    if unit and not context.container.supervised:
        yield f"its server does not run inside {unit}, which would not restart it after a crash"
    if unit and not context.state.units:
        yield f"the file of {unit} is gone: nothing would start it after a reboot"


def _mounts(context: CheckContext) -> Iterator[str]:
    name = context.tenant.name
    volume = layout.volume(name, context.state.spec.generation or 0)
    desired = {(layout.VOLUME_MOUNT, volume, True), (layout.ETC_MOUNT, layout.etc(name), False)}
    found = {_mount(dict(mount)) for mount in context.container.mounts}
    for destination, source, writable in sorted(found ^ desired):
        which = "is mounted, not wanted" if (destination, source, writable) in found else "is not mounted"
        yield f"{source} at {destination} ({'rw' if writable else 'ro'}) {which}"


def _mount(mount: dict[str, object]) -> tuple[str, str, bool]:
    source = str(mount.get("Name") or mount.get("Source"))
    if layout.HOME in source:
        source = source[source.index(layout.HOME) :]
    return str(mount["Destination"]), source, bool(mount["RW"])


def _identity(context: CheckContext) -> Iterator[str]:
    if why := context.state.foreign_data(context.tenant.name):
        yield f"its volume {why}"


IDENTITY = Check(
    "volume-identity",
    "the data is this tenant's, and of the cluster that was initialised for it",
    _identity,
    observed=True,
)

CHECKS = (
    Check("container-spec", "the container was made from the spec file on its machine", _spec, observed=True),
    Check("container-image", "it runs the image id the spec file names", _image, observed=True),
    Check("container-hardened", "no capability, no new privileges, seccomp, read-only root", _hardened, observed=True),
    Check("container-supervised", "under a systemd it comes back by itself", _supervised, observed=True),
    Check(
        "container-mounts", "its volume and its configuration, and nothing else, are mounted", _mounts, observed=True
    ),
    IDENTITY,
)
