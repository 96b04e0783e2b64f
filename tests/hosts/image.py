"""
The hosts' root file system, from Debian's packages, as an image of root's podman.

Built once for a machine and kept for later runs; another recipe builds it anew. `python -m tests.hosts clean` removes
it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.hosts.commands import call
from tests.hosts.locks import held

TRIXIE = "trixie"  # podman 5.4 with Quadlet
BOOKWORM = "bookworm"  # podman 4.3, without
RECIPE = "pgberth.tests.recipe"

_ROOT = Path(__file__).with_name("root")
_PACKAGES = (
    "aardvark-dns",
    "busybox-static",  # a whole image for containers in the host, in one file
    "ca-certificates",
    "catatonit",
    "crun",
    "dbus",
    "dbus-user-session",
    "iproute2",
    "libpam-systemd",
    "netavark",
    "openssh-server",
    "passt",
    "podman",
    "procps",
    "slirp4netns",
    "sudo",
    "systemd",
    "systemd-sysv",
    "uidmap",
    "util-linux",
)
# What would reach through to the kernel of the machine below, waits for a console, makes keys for all hosts alike, or
# takes APT's lock when it pleases.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "getty.target",
    "modprobe@.service",
    "sshd-keygen.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-modules-load.service",
    "systemd-remount-fs.service",
    "systemd-sysctl.service",
)
_HOOKS = (
    'sync-in "FILES" /',
    f'chroot "$1" systemctl mask {" ".join(_MASKED)}',
    'chroot "$1" systemctl enable shared-root.service ssh.service',
    'rm -rf "$1"/etc/ssh/ssh_host_*_key* "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin',
)
_BUILD_SECONDS = 900


def tag(suite: str) -> str:
    return f"localhost/pgberth-test-host:{suite}"


def recipe(suite: str) -> str:
    """A digest of all that goes into the image and is ours to say."""
    digest = hashlib.sha256()
    for part in (suite, *_PACKAGES, *_HOOKS, *_policy()):
        digest.update(part.encode() + b"\0")
    for path in _files():
        digest.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def provide(suite: str = TRIXIE) -> str:
    """The image's tag; the image is there afterwards and of the present recipe."""
    with held("image"):
        desired = recipe(suite)
        if _found(suite) != desired:
            _build(suite, desired)
    return tag(suite)


def remove() -> list[str]:
    """Every image made here, of whatever recipe; the ones removed. Raises Failed where a host runs from one."""
    listed = call("podman", "images", "--all", "--quiet", "--no-trunc", "--filter", f"label={RECIPE}").out.split()
    images = sorted(set(listed))
    for image in images:
        call("podman", "rmi", image, unbroken=True)
    return images


def _files() -> Iterator[Path]:
    return iter(sorted(path for path in _ROOT.rglob("*") if path.is_file()))


def _found(suite: str) -> str:
    """The recipe of the image that is there, "" where none is."""
    asked = f'{{{{ index .Labels "{RECIPE}" }}}}'
    return call("podman", "image", "inspect", "--format", asked, tag(suite), check=False).out.strip()


def _build(suite: str, desired: str) -> None:
    with tempfile.TemporaryDirectory(prefix="pgberth-host-image.") as directory:
        work = Path(directory)
        _place_files(work / "files")
        call(*_mmdebstrap(suite, work), timeout=_BUILD_SECONDS)
        change = ("--change", f"LABEL {RECIPE}={desired}", "--change", 'CMD ["/sbin/init"]')
        call("podman", "import", "--quiet", *change, str(work / "root.tar"), tag(suite), timeout=120, unbroken=True)
    call("podman", "image", "prune", "--force", f"--filter=label={RECIPE}", unbroken=True)


def _place_files(place: Path) -> None:
    """Root's, with the modes of a system's files, whoever owns this checkout."""
    for source in _files():
        target = place / source.relative_to(_ROOT)
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644)
    policy = place / "etc/apt/apt.conf.d/90machine-policy"
    policy.parent.mkdir(mode=0o755, parents=True)
    policy.write_text("".join(f"{line}\n" for line in _policy()))


def _mmdebstrap(suite: str, work: Path) -> Iterator[str]:
    yield from ("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}")
    yield from (f"--aptopt={line}" for line in _policy())
    yield from (f"--dpkgopt=path-exclude=/usr/share/{place}/*" for place in ("man", "doc", "locale", "i18n"))
    yield from (f"--customize-hook={hook.replace('FILES', str(work / 'files'))}" for hook in _HOOKS)
    yield from (suite, str(work / "root.tar"), *mirror())


def _policy() -> list[str]:
    """This machine's own word on old archives: without it APT refuses an expired Release file of an old mirror."""
    names = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")
    said = (call("apt-config", "dump", name, check=False).out.strip() for name in names)
    return [line for line in said if line]


def mirror() -> list[str]:
    """The Debian mirror this machine uses; nothing where it has none, which leaves the choice to mmdebstrap."""
    desired = "$(ORIGIN) $(COMPONENT) $(REPO_URI)"
    listed = call("apt-get", "indextargets", "--format", desired, "Created-By: Packages", check=False).out
    for line in listed.splitlines():
        origin, component, uri = [*line.split(), "", "", ""][:3]
        if (origin, component) == ("Debian", "main") and "security" not in uri:
            return [uri]
    return []
