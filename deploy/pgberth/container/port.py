"""A tenant's port: it is free when the tenant is created."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyinfra import host

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.inventory.load import next_free
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.tenant import Tenant
from pgberth.model.url import LOOPBACK


@guarded_operation()
def port_free(context: TenantContext) -> Commands:
    """
    The port on which the tenant's server will listen is free; checked before anything of the tenant is created.

    Only for a tenant that does not run: a running one has its port. start.sh checks again, since another process may
    have taken it in between.
    """
    yield from ()
    observed = context.observe()
    if observed.ready and not observed.running:
        refuse_taken_port(context.tenant, context.ports)


def refuse_taken_port(tenant: Tenant, asked: Collection[int], *, own: int = 0) -> None:
    """
    Raises Refused where the tenant's server cannot listen on its port and address.

    + asked: ports that tenants of the inventory ask for on this machine
    + own: the port on which it listens already; then only the address beyond loopback is checked
    """
    listen = tenant.listen
    address, only = listen.address if listen is not None else "", "there" if tenant.port == own else ""
    lines = port_report(str(tenant.port), address, only)
    if listen is not None and "nowhere" in lines:
        fact = f"{tenant.name}: its listen address {listen.address} is not an address of {tenant.machine.name}"
        raise Refused.because(fact, "nothing was done; give one that `ip -4 address` shows there")
    place = listen.address if listen is not None and only else LOOPBACK
    refuse_owner(tenant.name, tenant.port, lines, asked, place)


def port_report(port: str, address: str = "", only: str = "") -> list[str]:
    """port.sh's answer; nothing where the machine does not answer."""
    script = commands.script("container/port.sh")
    done, output = host.run_shell_command(
        commands.shell(script, port, f"{layout.HOME}/tenants", address, only, timeout=20)
    )
    return list(output.stdout_lines) if done else []


def refuse_owner(
    tenant: str, port: int, lines: Iterable[str], asked: Collection[int] = (), place: str = LOOPBACK
) -> None:
    """Raises Refused with the port's owner, by port.sh's answer, and the next free port."""
    words = [line.partition(" ") for line in lines]
    owner = next((rest for first, _, rest in words if first == "by"), None)
    if owner is None:
        return
    others = {int(number) for first, _, number in words if first == "taken" and number.isdigit()}
    free = next_free(port, others | set(asked))
    fact = f"{tenant}: port {place}:{port} is taken by {owner}"
    hint = f"stop it, or give the tenant another port in the inventory, such as {free}, which is free"
    raise Refused.because(fact, f"nothing was done; {hint}: runbooks/port-already-taken.md")
