"""Machines that deploys die over: accounts of this machine that nobody has made yet, and throwaway hosts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.crash.picture import machine_picture, picture
from tests.crash.remote import leftovers, strike, word
from tests.crash.steps import COMMAND, DEPLOY, Case, Fault, Step, struck
from tests.deploy.account import throwaway
from tests.deploy.product import Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant
from tests.hosts.fleet import ACCOUNT, TenantContext, inventory
from tests.hosts.room import Room

_NAME = "first"
_ONE_BY_ONE = threading.Lock()


@dataclass
class LocalMachine:
    """A tenant on an account of its own."""

    site: Site
    tenant: Tenant
    undo: contextlib.ExitStack

    @property
    def name(self) -> str:
        return self.tenant.name


@dataclass
class LocalMachines:
    """
    Subjects are accounts that the deploy itself makes.

    + image: as Python source; of an archive, since only few of these cases are about a build
    """

    places: Path
    image: str
    name: str = "machine, this one"
    faults: tuple[Fault, ...] = (DEPLOY, COMMAND)
    at_once: int = 1
    together: int = 1

    def new(self) -> LocalMachine:
        """An account that is nowhere yet."""
        undo = contextlib.ExitStack()
        account = undo.enter_context(throwaway("crash"))
        site = Site(account, self.places, image=self.image)
        return LocalMachine(site, site.tenant(_NAME), undo)

    def inventory(self, subjects: Sequence[LocalMachine]) -> Inventory:
        [subject] = subjects
        return subject.site.inventory(subject.tenant)

    def role(self, step: Step, _: LocalMachine) -> bool:
        """Whether the step is one of these cases'."""
        return step.host == "@local"

    def strike(self, subject: LocalMachine, case: Case) -> None:
        ended = struck(self.inventory([subject]), case, "@local")
        assert ended.code == -9, f"the deploy did not die: exit code {ended.code}\n{ended.err}"

    def picture(self, subject: LocalMachine) -> set[str]:
        account, tenant = subject.site.account, subject.tenant

        def look(command: str, stdin: str) -> str:
            return account.run("/bin/sh", "-c", command, stdin=stdin).out

        return picture(look, tenant.name, tenant.port) | machine_picture(look, account.name, tenant.name)

    def leftovers(self, subject: LocalMachine) -> list[str]:
        return subject.site.leftovers(subject.tenant)

    def remove(self, subject: LocalMachine) -> None:
        subject.undo.close()


@dataclass
class RemoteMachines:
    """Subjects are hosts that nobody has prepared yet, each with one tenant."""

    room: Room
    places: Path
    fault: Fault
    name: str = "machine, a fresh host"
    at_once: int = 1
    together: int = 1
    _numbers: count[int] = field(default_factory=lambda: count(1))

    @property
    def faults(self) -> tuple[Fault, ...]:
        return (self.fault,)

    def new(self) -> TenantContext:
        """A host that was booted a moment ago."""
        with _ONE_BY_ONE:
            return TenantContext(_NAME, self.room.boot(f"{word(self.fault)}{next(self._numbers)}"), 5501)

    def inventory(self, subjects: Sequence[TenantContext]) -> Inventory:
        return inventory(self.places, subjects)

    def role(self, step: Step, subject: TenantContext) -> bool:
        """Whether the step is one of these cases'."""
        return step.host == subject.host.name

    def strike(self, subject: TenantContext, case: Case) -> None:
        strike(subject.host, subject, case, self.inventory([subject]), subject.host.name)

    def picture(self, subject: TenantContext) -> set[str]:
        def look(command: str, stdin: str) -> str:
            return subject.host.run(command, ACCOUNT, stdin=stdin).out

        return picture(look, subject.name, subject.port) | machine_picture(look, ACCOUNT, subject.name)

    def leftovers(self, subject: TenantContext) -> list[str]:
        return leftovers(subject.host)

    def remove(self, subject: TenantContext) -> None:
        subject.host.destroy()
