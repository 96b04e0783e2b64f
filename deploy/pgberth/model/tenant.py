"""The tenant and its machine, as an inventory declares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgberth.model.connections import PLUGIN_POOL, Connections
from pgberth.model.image import PGVECTOR_FLOOR, PGVECTOR_LEAST, Image
from pgberth.model.listen import Listen
from pgberth.model.profile import PROFILES, Profile
from pgberth.model.sidecar import Sidecar

MEMORY_PLUGIN = "memory_plugin"
COMPONENTS = ("control_plane", MEMORY_PLUGIN, "knowledge")  # in the order in which they are applied
HEAD = "head"
DEFAULT_ACCOUNT = "pgberth"


@dataclass(frozen=True)
class Machine:
    """
    A host that runs rootless podman under one service account.

    + name: the inventory host; `@local` is the machine that pyinfra runs on
    + account: the service account; a deploy that does not run as root uses the caller's account
    """

    name: str
    account: str = DEFAULT_ACCOUNT


@dataclass(frozen=True)
class Tenant:
    """
    One team or agent workspace: one container, one live volume generation, one set of secrets.

    + port: of the machine's loopback
    + components: component -> target version, or HEAD, in the inventory's order
    + parameters: component -> name -> value, for the values that its migrations leave open
    + rings: the inventory groups it belongs to, e.g. ("canary",)
    + clients: connections of its applications; None for the profile's number
    + plugin_pool: connections of the memory plugin
    + superuser_tcp: whether `postgres` may log in over TCP
    + allow_old_pgvector: accept an image whose pgvector is below the floor, down to PGVECTOR_LEAST
    + sidecar: the memory plugin that runs beside the server; None where there is none
    + listen: where it listens beyond loopback, over TLS; None where it does not
    + secrets: kind of password -> secret:// reference; the machine generates the others
    """

    name: str
    machine: Machine
    port: int
    components: Mapping[str, int | str]
    image: Image
    profile_name: str = "small"
    rings: tuple[str, ...] = ()
    parameters: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    clients: int | None = None
    plugin_pool: int = PLUGIN_POOL
    superuser_tcp: bool = False
    allow_old_pgvector: bool = False
    sidecar: Sidecar | None = None
    listen: Listen | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def profile(self) -> Profile:
        return PROFILES[self.profile_name]

    @property
    def pgvector_floor(self) -> tuple[int, ...]:
        """The oldest pgvector that it may run with."""
        return PGVECTOR_LEAST if self.allow_old_pgvector else PGVECTOR_FLOOR

    @property
    def connections(self) -> Connections:
        return Connections(self.profile.clients if self.clients is None else self.clients, self.plugin_pool)

    @property
    def ordered_components(self) -> tuple[str, ...]:
        """The tenant's components in the order in which they are applied."""
        return tuple(component for component in COMPONENTS if component in self.components)

    def target(self, component: str) -> int | str | None:
        """The version of a component that the inventory names; None for the newest."""
        version = self.components[component]
        return None if version == HEAD else version

    @property
    def tabled_components(self) -> tuple[str, ...]:
        """The components whose target includes their tables: version 0 of a component is its empty schema."""
        return tuple(name for name in self.ordered_components if self.components[name] != 0)

    @property
    def first_component(self) -> str:
        """The first in the inventory's order: a URL without a search_path uses its schema."""
        return next(iter(self.components))
