"""A tenant's volumes: which one holds its data, and which generation a new one gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pyinfra import host

from pgberth import commands
from pgberth.container.context import TenantContext
from pgberth.model.problems import Refused


class Content(StrEnum):
    """
    What is in a volume that has a tenant's name.

    OWN: the tenant's data. FOREIGN: a volume that is marked, or cannot be read, and is not shown to be the tenant's.
    EMPTY, BEGUN, DATA: no marker, and nothing, an initialisation that was killed, or whatever else.
    """

    OWN = "own"
    FOREIGN = "foreign"
    EMPTY = "empty"
    BEGUN = "begun"
    DATA = "data"


@dataclass(frozen=True)
class Volume:
    """
    + more: of one's OWN PostgreSQL's major version by its marker; of a FOREIGN one why it is that
    """

    name: str
    content: Content
    more: str = ""

    @classmethod
    def parse(cls, line: str) -> Volume:
        """From a line of list-volumes.sh. Raises ValueError for any other."""
        name, _, rest = line.partition(" ")
        content, _, more = rest.partition(" ")
        return cls(name, Content(content), more)

    @property
    def generation(self) -> int:
        return int(self.name.rpartition("-g")[2])

    @property
    def major(self) -> int:
        """PostgreSQL's major version in one's OWN."""
        return int(self.more)

    @property
    def reusable(self) -> bool:
        """Whether it may be initialised: nobody can have written to it."""
        return self.content in (Content.EMPTY, Content.BEGUN)


def volumes_of(context: TenantContext) -> list[Volume]:
    """Volumes that have the tenant's name, newest first. Raises Refused where podman does not list them."""
    if context.observe().no_volume:
        return []
    script = commands.script("container/list-volumes.sh")
    done, output = host.run_shell_command(commands.shell(script, context.name, timeout=60))
    if not done:
        raise Refused.because(f"{context.name}: podman does not list volumes: {output.stderr}", "run the deploy again")
    try:
        return [Volume.parse(line) for line in output.stdout_lines]
    except ValueError:
        # An exception inside an operation would end the run for every tenant.
        fact = f"{context.name}: the list of its volumes is not understood: {output.stdout}"
        raise Refused.because(fact, "nothing was started; run the deploy again") from None


def own_volume(tenant: str, volumes: Sequence[Volume]) -> Volume | None:
    """The newest that holds the tenant's data; None where there is none. Raises Refused for a newer FOREIGN one."""
    found = next((one for one in volumes if one.content in (Content.OWN, Content.FOREIGN)), None)
    if found is not None and found.content is Content.FOREIGN:
        fact = f"{tenant}: its volume {found.name} {found.more}"
        raise Refused.because(fact, "nothing was started; runbooks/foreign-volume.md")
    return found


def next_generation(volumes: Sequence[Volume]) -> int:
    """The generation to initialise: that of the newest volume where it is reusable, otherwise the one after it."""
    if not volumes:
        return 1
    newest = volumes[0]
    return newest.generation if newest.reusable else newest.generation + 1
