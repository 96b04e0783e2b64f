"""Known passwords go through a deploy at its most talkative, and are then looked for everywhere."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deploy.product import REPO, Inventory, Run, run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant

TALKATIVE = ("-vvv", "--debug", "--diff")
KINDS = ("superuser", "migrator", "app", "monitor")


@dataclass
class Sampler:
    """Argv and environment of every process there is, each different text once. + rounds: how often it looked"""

    seen: set[bytes] = field(default_factory=set)
    rounds: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Sampler]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self.rounds += 1
            for pid in filter(str.isdigit, (entry.name for entry in os.scandir("/proc"))):
                for name in ("cmdline", "environ"):
                    # Processes end, and some are not ours to read.
                    with contextlib.suppress(OSError):
                        self.seen.add(_content(f"/proc/{pid}/{name}"))


def _content(path: str) -> bytes:
    """A file's bytes. It is read fifty times a second for each process: pathlib would take a third of a processor."""
    file = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(file, 1 << 16), b""))
    finally:
        os.close(file)


@dataclass(frozen=True)
class Canary:
    """
    A deployed tenant with known passwords, and all that came of deploying it.

    + planted: kind -> password, as it was there before the deploy; in_use: what was stored after it
    + rotated: the same after the rotation
    """

    tenant: Tenant
    planted: dict[str, str]
    in_use: dict[str, str]
    rotated: dict[str, str]
    verifiers: list[str]
    runs: list[Run]
    sampler: Sampler
    began: float

    def told_in(self, text: str | bytes, *, verifiers: bool = True) -> list[str]:
        """Which of the secrets the text tells."""
        content = text.encode() if isinstance(text, str) else text
        passwords = {**self.planted, **{f"{kind}, rotated": one for kind, one in self.rotated.items()}}
        desired = {**passwords, **({f"verifier {one}": one for one in self.verifiers} if verifiers else {})}
        return [name for name, secret in desired.items() if secret.encode() in content]


def plant(tenant: Tenant) -> dict[str, str]:
    """Passwords as files of the account, before anything else of the tenant is there."""
    passwords = {kind: f"canary-{kind}-{secrets.token_urlsafe(18)}" for kind in KINDS}
    for kind, password in passwords.items():
        script = 'mkdir -p "$1" && cat > "$1/$2"'
        tenant.account.run("sh", "-c", script, "sh", str(tenant.directory / "secrets"), f"{kind}-v1", stdin=password)
    return passwords


def talkative(inventory: Inventory, verb: str, *options: str) -> Run:
    return run(inventory.command(verb, *TALKATIVE, *options)).went_well()


def verifiers_of(tenant: Tenant) -> list[str]:
    return tenant.superuser("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL").split()


@pytest.fixture(scope="module")
def canary(site: Site) -> Iterator[Canary]:
    """
    Deployed, asked, given another password by hand and repaired, used, recycled and rotated: all under the sampler's
    eyes.
    """
    tenant = site.tenant("canary", "control_plane", "memory_plugin", "knowledge")
    inventory = site.inventory(tenant)
    began = time.time() - 1
    passwords = plant(tenant)
    verifiers = []
    with Sampler().looking() as sampler:
        runs = [talkative(inventory, verb) for verb in ("provision", "verify", "status")]
        in_use = {kind: tenant.password(kind) for kind in KINDS}
        verifiers += verifiers_of(tenant)
        tenant.superuser("ALTER ROLE memory_app_a PASSWORD 'by-hand'; ALTER ROLE memory_migrator PASSWORD 'by-hand'")
        runs.append(talkative(inventory, "provision"))
        verifiers += verifiers_of(tenant)
        runs.append(inventory.local("psql", "--tenant", tenant.name, stdin="SELECT pg_sleep(0.3);\n").went_well())
        runs.append(inventory.local("url", "--tenant", tenant.name).went_well())
        runs.append(inventory.verb("provision").changed_nothing())  # in the words of --json
        runs.append(talkative(inventory, "recycle"))
        runs.append(talkative(inventory, "rotate", "--data", "drain=1"))
        verifiers += verifiers_of(tenant)
    rotated = {kind: (tenant.directory / "secrets" / f"{kind}-v2").read_text().strip() for kind in KINDS}
    yield Canary(tenant, passwords, in_use, rotated, sorted(set(verifiers)), runs, sampler, began)
    site.remove(tenant)


def test_the_passwords_that_were_there_are_the_ones_in_use_until_the_rotation(canary: Canary) -> None:
    assert canary.in_use == canary.planted
    for kind, user in (("app", "memory_app_b"), ("migrator", "memory_migrator"), ("monitor", "memory_monitor")):
        with canary.tenant.connect(user, canary.rotated[kind]) as session:
            assert session.execute("SELECT current_user").fetchone() == (user,)
    assert canary.runs[3].line("repairing: password of memory_app_a is not the stored one")


def test_nothing_that_was_printed_tells_a_secret(canary: Canary) -> None:
    assert sum(len(run.said) for run in canary.runs) > 100_000  # it was talkative indeed
    assert [canary.told_in(run.said) for run in canary.runs] == [[]] * len(canary.runs)


def test_no_process_ever_carried_a_secret_in_its_arguments_or_environment(canary: Canary) -> None:
    assert canary.sampler.rounds > 50
    # The short-lived ones were seen, too.
    assert any(text.startswith(b"podman\0") and b"\0run\0" in text for text in canary.sampler.seen)
    assert canary.told_in(b"\n".join(canary.sampler.seen)) == []


def test_podman_and_the_servers_log_tell_no_secret(canary: Canary) -> None:
    account, name = canary.tenant.account, canary.tenant.name
    assert canary.told_in(account.podman("container", "inspect", name).said) == []
    log = account.podman("logs", name).said
    assert "ALTER ROLE memory_app_a PASSWORD 'by-hand'" in log  # such statements are logged: ours had to see to it
    assert canary.told_in(log) == []
    server = Path(f"/proc/{canary.tenant.container()['State']['Pid']}")
    assert canary.told_in((server / "environ").read_bytes() + (server / "cmdline").read_bytes()) == []


def test_the_server_knows_verifiers_and_no_password(canary: Canary) -> None:
    assert len(canary.verifiers) == 12  # five roles, two of them repaired, five rotated
    assert all(verifier.startswith("SCRAM-SHA-256$4096:") for verifier in canary.verifiers)
    everything = canary.tenant.execute("pg_dumpall", "-h", "/run/postgresql", "-U", "postgres")
    assert "memory_ledger" in everything
    assert canary.told_in(everything, verifiers=False) == []
    ledger = canary.tenant.superuser("SELECT e::text FROM memory_ledger.event AS e")
    assert canary.told_in(ledger) == []


def test_no_file_holds_a_password_but_those_made_for_it(canary: Canary) -> None:
    directory = canary.tenant.directory
    places = [canary.tenant.account.home, REPO, Path(tempfile.gettempdir()), Path("/run/user"), Path("/dev/shm")]
    found = {path for place in places for path in changed(place, canary.began) if holds(path, canary)}
    allowed = {directory / "secrets" / f"{kind}-v2" for kind in KINDS}
    assert found == allowed | {directory / "passfile", directory / "connection.env"}
    assert {oct(path.stat().st_mode) for path in found} == {"0o100600"}


def changed(place: Path, since: float) -> Iterator[Path]:
    """Regular files below a place that were written since then, in seconds of the epoch."""
    for path in place.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since:
                yield path


def holds(path: Path, canary: Canary) -> bool:
    try:
        return bool(canary.told_in(path.read_bytes(), verifiers=False))
    except OSError:
        return False  # gone, or not ours to read
