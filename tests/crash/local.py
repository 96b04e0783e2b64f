"""Tenants on an account of this machine that deploys die over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from tests.crash.picture import picture
from tests.crash.steps import COMMAND, DEPLOY, Case, Fault, Step, struck
from tests.deploy.product import Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant


@dataclass
class LocalTenants:
    """+ components: what each tenant has; their named points of migrations are steps, too"""

    site: Site
    components: tuple[str, ...]
    name: str = "tenant, this machine"
    faults: tuple[Fault, ...] = (DEPLOY, COMMAND)
    at_once: int = 2
    together: int = 8
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def new(self) -> Tenant:
        """A tenant that is nowhere yet."""
        return self.site.tenant(f"crash{next(self._numbers)}", *self.components)

    def inventory(self, tenants: Sequence[Tenant]) -> Inventory:
        return self.site.inventory(*tenants)

    def role(self, step: Step, tenant: Tenant) -> bool:
        """Whether the step is one of these cases'."""
        return step.host == tenant.name

    def strike(self, tenant: Tenant, case: Case) -> None:
        """The fault comes over a deploy of this tenant."""
        ended = struck(self.inventory([tenant]), case, tenant.name)
        assert ended.code == -9, f"the deploy did not die: exit code {ended.code}\n{ended.err}"

    def picture(self, tenant: Tenant) -> set[str]:
        def look(command: str, stdin: str) -> str:
            return self.site.account.run("/bin/sh", "-c", command, stdin=stdin).out

        return picture(look, tenant.name, tenant.port)

    def leftovers(self, tenant: Tenant) -> list[str]:
        return self.site.leftovers(tenant)

    def remove(self, tenant: Tenant) -> None:
        self.site.remove(tenant)
