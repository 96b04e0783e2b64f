"""A registry of the tests' own: Debian's docker-registry on the hosts' network, filled by root's podman."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts import needs, server_image
from tests.hosts.commands import Failed, call, wait_for
from tests.hosts.host import Host
from tests.hosts.locks import held

# Unpacked and not installed: the package would start a service on this machine.
_UNPACKED = server_image.PLACE / "docker-registry"
_PROGRAM = _UNPACKED / "usr/bin/docker-registry"
_CONFIG = {"version": 0.1, "log": {"accesslog": {"disabled": True}, "level": "error"}}


@dataclass(frozen=True)
class Registry:
    """+ address: host:port, as the hosts reach it; without TLS, so that each host must be told to trust it"""

    address: str
    process: subprocess.Popen[bytes]

    def push(self, archive: Path, place: Path, name: str) -> str:
        """Put an archive's image there; the digest of its manifest, which the place keeps for a moment."""
        reference = f"{self.address}/{name}"
        loaded = call("podman", "load", "--quiet", f"--input={archive}", timeout=120, unbroken=True).out
        image = loaded.strip().rpartition(" ")[2]
        told = place / "pushed"
        try:
            push = ("podman", "push", "--quiet", "--tls-verify=false", f"--digestfile={told}", image, reference)
            call(*push, timeout=120, unbroken=True)
        finally:
            call("podman", "rmi", image, unbroken=True)
        return told.read_text().strip()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It takes no request meanwhile, and refuses none."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def trusted_by(self, host: Host) -> None:
        conf = f'[[registry]]\nlocation = "{self.address}"\ninsecure = true\n'
        host.run("cat > /etc/containers/registries.conf.d/tests.conf", stdin=conf)


@contextlib.contextmanager
def running(place: Path, address: str) -> Iterator[Registry]:
    """
    A registry that keeps its images in that directory and listens on a free port of this address.

    Raises Failed where it does not come up.
    """
    with socket.socket() as probe:
        probe.bind((address, 0))
        listens = f"{address}:{probe.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(place / "images")}}
    conf = place / "config.yml"  # JSON is YAML
    conf.write_text(json.dumps({**_CONFIG, "storage": storage, "http": {"addr": listens}}))
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen([_PROGRAM, "serve", str(conf)], stdout=log, stderr=log, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            wait_for(f"the registry at {listens}", lambda: _answers(listens), 60)
            yield Registry(listens, process)
        finally:
            process.kill()


def provide() -> None:
    """The program is here afterwards, from Debian's archive. Raises Unfit where that cannot be."""
    with held("registry"):
        if not _PROGRAM.exists():
            _unpack()


def remove() -> list[Path]:
    """What was unpacked here."""
    found = [_UNPACKED] if _UNPACKED.exists() else []
    for path in found:
        shutil.rmtree(path)
    return found


def _unpack() -> None:
    server_image.PLACE.mkdir(mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=server_image.PLACE) as directory:
        try:
            call("apt-get", "update", "--quiet", timeout=300)
            # As root and not as the account _apt, which may not enter.
            sandbox = "APT::Sandbox::User=root"
            call("sh", "-c", f'cd "$1" && apt-get -o {sandbox} download docker-registry', "sh", directory, timeout=300)
        except (Failed, OSError) as failed:
            raise needs.Unfit(f"no registry to test with: {failed}") from failed
        [package] = Path(directory).glob("docker-registry_*.deb")
        call("dpkg-deb", "--extract", str(package), str(_UNPACKED))


def _answers(listens: str) -> str:
    host, _, port = listens.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError as error:
        return str(error)
    return ""


def without_labels(archive: Path, into: Path, **changes: Any) -> Path:
    """The same image as a stranger would have made it; changes are to its configuration."""
    with tarfile.open(archive) as old, tarfile.open(into, "w") as new:
        [image] = json.load(_file(old, "manifest.json"))
        config = json.load(_file(old, image["Config"])) | changes
        config["config"].pop("Labels")
        body = json.dumps(config).encode()
        name = f"{hashlib.sha256(body).hexdigest()}.json"
        for layer in image["Layers"]:
            new.addfile(old.getmember(layer), _file(old, layer))
        for member, text in ((name, body), ("manifest.json", json.dumps([{**image, "Config": name}]).encode())):
            entry = tarfile.TarInfo(member)
            entry.size = len(text)
            new.addfile(entry, io.BytesIO(text))
    return into


def _file(tar: tarfile.TarFile, name: str) -> Any:
    found = tar.extractfile(name)
    assert found is not None, name
    return found
