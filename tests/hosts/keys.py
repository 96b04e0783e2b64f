"""One key that opens every host of a run, and the keys by which the hosts themselves are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.hosts.commands import call


@dataclass(frozen=True)
class Keys:
    """
    + private: the file ssh is given
    + known_hosts: each host's real key, read past the network; nothing is ever accepted on first sight
    """

    private: Path
    known_hosts: Path

    @classmethod
    def made(cls, directory: Path) -> Keys:
        keys = cls(directory / "id_ed25519", directory / "known_hosts")
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pgberth throwaway hosts", "-f", str(keys.private))
        keys.known_hosts.touch(mode=0o600)
        return keys

    @property
    def public(self) -> str:
        return self.private.with_suffix(".pub").read_text().strip()

    def know(self, address: str, host_key: str) -> None:
        """From now on the host at this address is the one with this key."""
        kind, key = host_key.split()[:2]
        self._write([*self._others(address), f"{address} {kind} {key}"])

    def invalidate(self, address: str) -> None:
        self._write(self._others(address))

    def _others(self, address: str) -> list[str]:
        return [line for line in self.known_hosts.read_text().splitlines() if line.split()[0] != address]

    def _write(self, lines: list[str]) -> None:
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))
