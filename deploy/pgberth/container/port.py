"""A tenant's port: nobody else has it when the tenant is made."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyinfra import host
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.inventory.load import next_free
from pgberth.model import layout
from pgberth.model.problems import Problem
from pgberth.model.tenant import Tenant
from pgberth.model.url import LOOPBACK


@operation()
def port_free(context: TenantContext, asked: Collection[int]) -> Commands:
    """
    Nobody listens where the tenant's server is to listen; found before anything of the tenant is made.

    + asked: ports that tenants of the inventory ask for on this machine

    Only a tenant that does not run is asked about: one that runs has its port. start.sh looks again, since somebody may
    have come in between.
    """
    state = context.observe()
    if state is None or state.machine_profile is None or (state.container is not None and state.container.running):
        return
    if problem := in_the_way(context.tenant, asked):
        yield commands.refuse(problem)


def in_the_way(tenant: Tenant, asked: Collection[int], *, own: int = 0) -> Problem | None:
    """
    Why the tenant's server cannot listen where it is to; None where it can.

    + own: the port where it listens already, so that there only the other address is looked at
    """
    listen, text = tenant.listen, commands.script("container/port.sh")
    address, only = listen.address if listen is not None else "", "there" if tenant.port == own else ""
    told = str(tenant.port), f"{layout.HOME}/tenants", address, only
    done, output = host.run_shell_command(commands.shell(text, *told, timeout=20))
    if not done:
        return None
    lines = output.stdout_lines
    place = listen.address if listen is not None and tenant.port == own else LOOPBACK
    return _nowhere(tenant, lines) or taken(tenant, lines, asked, place)


def _nowhere(tenant: Tenant, lines: Iterable[str]) -> Problem | None:
    """The address that is none of the machine's, by port.sh's answer."""
    if tenant.listen is None or "nowhere" not in lines:
        return None
    fact = f"{tenant.name}: it is to listen on {tenant.listen.address}, which is no address of {tenant.machine.name}"
    return Problem(fact, "nothing was done; give one that `ip -4 address` shows there")


def taken(tenant: Tenant, lines: Iterable[str], asked: Collection[int], place: str = LOOPBACK) -> Problem | None:
    """Who has the tenant's port, by port.sh's answer, and the next that nobody has; None where it is free."""
    told = [line.partition(" ") for line in lines]
    owner = next((words for what, _, words in told if what == "by"), None)
    if owner is None:
        return None
    others = {int(port) for what, _, port in told if what == "taken" and port.isdigit()}
    free = next_free(tenant.port, others | set(asked))
    fact = f"{tenant.name}: port {place}:{tenant.port} is taken by {owner}"
    hint = f"stop it, or give the tenant another port in the inventory, such as {free}, which nobody has"
    return Problem(fact, f"nothing was done; {hint}: runbooks/port-already-taken.md")
