"""The fleet of a run and its external inputs: read once, and every rule checked, before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from pgberth.database import tls
from pgberth.inventory.load import Fleet
from pgberth.inventory.run_inventory import in_limit, one_concerned, read_fleet
from pgberth.migrations.operations import parameter_problems
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Tenant
from pgberth.run import current_run
from pgberth.secrets.external import ExternalPasswords, resolve


@dataclass
class RunInputs:
    """
    What the run was given.

    + fleet: None until the first host of the run has read it
    """

    fleet: Fleet | None = None

    @property
    def limited(self) -> list[Tenant]:
        """The tenants that this run is for."""
        return [tenant for name, tenant in (self.fleet.tenants if self.fleet else {}).items() if in_limit(name)]

    @cached_property
    def passwords(self) -> Mapping[str, ExternalPasswords]:
        """Tenant -> its external passwords. Raises Refused."""
        return resolve(self.limited)

    @cached_property
    def certificates(self) -> Mapping[str, Mapping[str, str]]:
        """Tenant -> kind of file -> its text, for external certificates. Raises Refused."""
        return tls.read_external(self.limited)


def fleet(*switches: str) -> Fleet:
    """
    The fleet of this run.

    + switches: the --data keys the verb knows

    Raises DeployError with every problem at once; pyinfra then stops the whole run, before its first operation.
    """
    inputs = current_run().part(RunInputs)
    try:
        if inputs.fleet is None:
            inputs.fleet = _checked_fleet(*switches)
        return inputs.fleet
    except Refused as refused:
        raise DeployError(f"the inventory is refused:\n{refused}") from None


def _checked_fleet(*switches: str) -> Fleet:
    found, problems = read_fleet(*switches)
    problems += [problem for tenant in found.tenants.values() for problem in parameter_problems(tenant)]
    if not found.tenants and not problems:
        problems = [Problem("the inventory declares no tenant", "see inventories/local.py for the form of one")]
    if problems:
        raise Refused(problems)
    return found


def typed_tenant_problems(found: Fleet) -> list[Problem]:
    """What is wrong with `--data tenant=NAME`, of a verb that is for one tenant alone."""
    typed = current_run().data.get("tenant", "")
    if typed in found.tenants:
        return []
    fact = f"--data tenant={typed!r} is not a tenant of this inventory"
    return [Problem(fact, f"type the name in full, one of {', '.join(found.tenants)}")]


def typed_tenant(found: Fleet, verb: str) -> Tenant | None:
    """
    The tenant of `--data tenant=NAME` where it is the current host, else None.

    Raises DeployError where --limit excludes it.
    """
    name = current_run().data["tenant"]
    one_concerned(verb, [name])
    return found.tenants[name] if host.name == name else None


def external_passwords() -> Mapping[str, ExternalPasswords]:
    """
    Tenant -> the passwords that the inventory takes from elsewhere; each source is asked once a run.

    Raises DeployError with every one that could not be read, before the run's first operation.
    """
    try:
        return current_run().part(RunInputs).passwords
    except Refused as refused:
        raise DeployError(f"external passwords could not be read:\n{refused}") from None


def external_certificates() -> Mapping[str, Mapping[str, str]]:
    """Tenant -> kind of file -> its text, of external certificates. Raises DeployError with all that cannot be used."""
    try:
        return current_run().part(RunInputs).certificates
    except Refused as refused:
        raise DeployError(f"external certificates cannot be used:\n{refused}") from None
