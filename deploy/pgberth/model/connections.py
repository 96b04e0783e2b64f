"""The budget of a tenant's connections: who holds how many of them, added up before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgberth.model.roles import MIGRATOR, MONITOR, SUITE

# Connections that no application can take: their roles are pgberth's own, and each role has a limit. The suite's is for
# three suites at once.
OWN: Mapping[str, int] = {MIGRATOR: 6, SUITE: 12, MONITOR: 3}
SUPERUSER = 3
# A connection that has not logged in yet takes one as well, until authentication_timeout ends it.
SILENT = 64
PLUGIN_POOL = 5
PROOF = 1  # pgberth's own login as the app, for a moment


@dataclass(frozen=True)
class Connections:
    """
    What one tenant's server is asked to hold.

    + clients: of the tenant's applications
    + plugin_pool: of the memory plugin, which logs in as the app, too
    """

    clients: int
    plugin_pool: int = PLUGIN_POOL

    @property
    def app(self) -> int:
        """The limit of each of the app's two login roles. During a rotation the clients' pools are open in both."""
        return self.clients + self.plugin_pool + PROOF

    def terms(self) -> dict[str, int]:
        """Who holds them -> how many."""
        return {
            "clients": self.clients,
            "memory plugin": self.plugin_pool,
            "proof of login": PROOF,
            "the same again during a rotation": self.app,
            "smoke suite": OWN[SUITE],
            "migrator": OWN[MIGRATOR],
            "monitor": OWN[MONITOR],
            "superuser": SUPERUSER,
            "not logged in yet": SILENT,
        }

    @property
    def total(self) -> int:
        return sum(self.terms().values())

    def __str__(self) -> str:
        """`20 clients + 5 memory plugin + ... = 140`"""
        return f"{' + '.join(f'{number} {name}' for name, number in self.terms().items())} = {self.total}"
