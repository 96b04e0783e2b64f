"""Throwaway hosts that lose the network, or their power, while a deploy is under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from pgberth.connectors.lease import LAPSE
from pgberth.model import layout
from tests.crash import PORTS
from tests.crash.picture import picture
from tests.crash.steps import CUT, OFF, Case, Fault, Step, struck
from tests.deploy.processes import Process
from tests.deploy.product import Inventory
from tests.deploy.site import still_found, stray
from tests.hosts.commands import call, wait_for
from tests.hosts.fleet import ACCOUNT, TenantContext, inventory
from tests.hosts.host import Host

_FIRST_PORT = {CUT: 5600, OFF: 5700}
_NOTICED = 60  # seconds until a deploy has given up a host that fell silent
_LAST = "receipt is kept"  # where the network may be cut when all is done: nobody asks the host for anything more

# Only these connections are lost, without a word and both ways: others' deploys go on. Arguments: a name, ports.
_CUT = """set -eu
iptables --wait --new-chain "$1"
for port in $(echo "$2" | tr , ' '); do
  iptables --wait --append "$1" --protocol tcp --source-port "$port" --destination-port 22 --jump DROP
  iptables --wait --append "$1" --protocol tcp --source-port 22 --destination-port "$port" --jump DROP
done
iptables --wait --insert INPUT --jump "$1"
iptables --wait --insert OUTPUT --jump "$1"
"""
_RESTORE = """iptables --wait --list "$1" >/dev/null 2>&1 || exit 0
iptables --wait --delete INPUT --jump "$1" && iptables --wait --delete OUTPUT --jump "$1" &&
iptables --wait --flush "$1" && iptables --wait --delete-chain "$1"
"""
_REMOVE = """for unit in "$1" "pgberth-$1"; do systemctl --user stop "$unit.service" 2>/dev/null; done
podman rm --force --ignore --time 0 "$1" "$1-init"
podman volume rm --force "$1-data-g1"
rm -rf ".local/share/pgberth/tenants/$1" .config/containers/systemd/*"$1".container .config/systemd/user/*"$1".service
systemctl --user daemon-reload 2>/dev/null
exit 0
"""


@dataclass
class RemoteTenants:
    """Subjects are tenants of one host. Only one of the faults: those that lose the network can be many at once."""

    host: Host
    places: Path
    fault: Fault
    _numbers: count[int] = field(default_factory=lambda: count(1))

    @property
    def name(self) -> str:
        return f"tenant, {self.host.name}"

    @property
    def faults(self) -> tuple[Fault, ...]:
        return (self.fault,)

    @property
    def at_once(self) -> int:
        return 6 if self.fault == CUT else 1

    together = at_once

    def new(self) -> TenantContext:
        """A tenant that is nowhere yet."""
        number = next(self._numbers)
        return TenantContext(f"{word(self.fault)}{number}", self.host, _FIRST_PORT[self.fault] + number)

    def inventory(self, subjects: Sequence[TenantContext]) -> Inventory:
        return inventory(self.places, subjects)

    def role(self, step: Step, subject: TenantContext) -> bool:
        """Whether the step is one of these cases'."""
        return step.host == subject.name

    def strike(self, subject: TenantContext, case: Case) -> None:
        strike(self.host, subject, case, self.inventory([subject]), subject.name)

    def picture(self, subject: TenantContext) -> set[str]:
        def look(command: str, stdin: str) -> str:
            return self.host.run(command, ACCOUNT, stdin=stdin).out

        return picture(look, subject.name, subject.port)

    def leftovers(self, _: TenantContext) -> list[str]:
        return leftovers(self.host)

    def remove(self, subject: TenantContext) -> None:
        if self.fault == CUT:
            call(*_on_its_network(self.host, _RESTORE, subject.name))
        self.host.run(f"set -- {subject.name}\n{_REMOVE}", ACCOUNT)


def word(fault: Fault) -> str:
    """The fault in a name."""
    return "cut" if fault == CUT else "off"


def strike(host: Host, subject: TenantContext, case: Case, over: Inventory, whose: str) -> None:
    """
    The fault comes over a deploy. One that loses its line says so in its own words, and in time.

    + whose: the name under which the step's host is in the inventory
    """
    if case.fault == OFF:
        # Its first process, and with it all others: podman's own kill would wait for others that use podman.
        ended = struck(over, case, whose, ["sh", "-c", "kill -KILL $1", "sh", _first_process(host)])
        assert ended.code == -9, f"the deploy did not get there: exit code {ended.code}\n{ended.err}"
        host.podman("wait", "--interval=50ms", host.container)
        host.power_on()
        return
    act = _on_its_network(host, _CUT, subject.name, PORTS)
    ended = struck(over, case, whose, act)
    if ended.code or case.step.op != _LAST:
        ended.failed()
    lock = f"/home/{ACCOUNT}/{layout.lock_file(subject.name)}.run"
    free = f"test ! -e {lock} || flock --nonblock {lock} true"
    # Until then whoever comes is told who is at work; the machine cannot know that nobody is.
    wait_for("the lock's end", lambda: "" if host.run(free, check=False).code == 0 else "held", LAPSE + 30, 1.0)
    assert ended.seconds < _NOTICED + 30, f"a silent host was given up after {ended.seconds:.0f} s only"


def _on_its_network(host: Host, script: str, *arguments: str) -> list[str]:
    """A command that runs a script where the host's own network is, with this machine's programs."""
    return ["nsenter", f"--target={_first_process(host)}", "--net", "--", "sh", "-c", script, "sh", *arguments]


def _first_process(host: Host) -> str:
    """Its number on this machine."""
    return host.podman("container", "inspect", "--format={{.State.Pid}}", host.container).out.strip()


def leftovers(host: Host) -> list[str]:
    """Processes of the account that belong to no running container."""

    def look() -> list[str]:
        running = set(host.run("podman ps --format '{{.Names}}'", ACCOUNT).out.split())
        told = host.run(f"ps -u {ACCOUNT} -o pid= -o sess= -o args=").out.splitlines()
        rows = (line.split(maxsplit=2) for line in told)
        return stray([Process(int(pid), int(session), argv) for pid, session, argv in rows], running)

    return still_found(look)
