"""
The test plugin's image, from Debian's packages, in root's podman.

Built once for a machine and kept for later runs, as the throwaway hosts' images are; another recipe builds it anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.deploy.account import Account
from tests.hosts.commands import call
from tests.hosts.image import _policy, mirror
from tests.hosts.locks import held

TAG = "localhost/pgberth-test-plugin:trixie"
RECIPE = "pgberth.tests.recipe"
SERVER = Path(__file__).with_name("server.py")
_PACKAGES = ("python3-minimal", "python3-psycopg", "curl")
_ENTRYPOINT = '["python3", "/plugin/server.py"]'


def recipe() -> str:
    """A digest of all that goes into the image and is ours to say."""
    parts = (*_PACKAGES, _ENTRYPOINT, *_policy(), SERVER.read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def provide() -> str:
    """The image's tag; the image is in root's store afterwards, and of the present recipe."""
    with held("plugin-image"):
        asked = f'{{{{ index .Labels "{RECIPE}" }}}}'
        desired = recipe()
        found = call("podman", "image", "inspect", "--format", asked, TAG, check=False).out.strip()
        if found != desired:
            _build(desired)
    return TAG


def hand_over(account: Account) -> str:
    """The image's tag; the image is in the account's store afterwards."""
    tag = provide()
    with tempfile.NamedTemporaryFile(prefix="pgberth-plugin.") as archive:
        call("podman", "save", "--quiet", "--output", archive.name, tag, timeout=300)
        Path(archive.name).chmod(0o644)
        account.run("podman", "load", "--quiet", "--input", archive.name, timeout=300)
    return tag


def _build(desired: str) -> None:
    with tempfile.TemporaryDirectory(prefix="pgberth-plugin-image.") as directory:
        tree = Path(directory) / "root.tar"
        call(*_mmdebstrap(tree), timeout=900)
        changes = (f"LABEL {RECIPE}={desired}", f"ENTRYPOINT {_ENTRYPOINT}")
        changed = [word for change in changes for word in ("--change", change)]
        call("podman", "import", "--quiet", *changed, str(tree), TAG, timeout=300, unbroken=True)


def _mmdebstrap(tree: Path) -> Iterator[str]:
    yield from ("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}")
    yield from (f"--aptopt={line}" for line in _policy())
    yield from (f"--dpkgopt=path-exclude=/usr/share/{place}/*" for place in ("man", "doc", "locale", "i18n"))
    yield '--customize-hook=mkdir "$1"/plugin'
    yield f'--customize-hook=upload "{SERVER}" /plugin/server.py'
    yield '--customize-hook=chmod 0644 "$1"/plugin/server.py'
    yield '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin'
    yield from ("trixie", str(tree), *mirror())
