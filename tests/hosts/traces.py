"""What hosts leave on the machine below, looked for with that machine's own tools rather than remembered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.hosts.commands import call
from tests.hosts.room import LABEL

# A rootful container's, and nobody else's on this machine.
_MOUNTS = ("/run/netns/", "/var/lib/containers/")
_LINKS = ("cni-", "podman", "veth")


def traces() -> set[str]:
    """Containers, volumes, networks, mounts, links, network namespaces, addresses, rules, control groups, runs."""
    return {f"{kind} {what}" for kind, found in _looks() for what in found}


def left_by(room: str, before: set[str]) -> set[str]:
    """
    What was not there before. Of things without a name only what must be the room's: where another run's room came
    or went meanwhile, they are not counted.
    """
    now = traces()
    runs = {trace for trace in now ^ before if trace.startswith("run ")}
    alone = runs <= {f"run {room}"} and sum(trace.startswith("run ") for trace in before) <= 1
    return {trace for trace in now - before if alone or room in trace}


def processes(room: str) -> list[str]:
    """Those of a room, by its name among their arguments: the monitors, and the podmans that still work."""
    return [f"{pid} {said}" for pid, said in _commands() if f"-{room}-" in said]


def inside(container: str) -> list[str]:
    """Processes of a container, by its id in their control group."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if container in (place / "cgroup").read_text():
                found.append(f"{place.name} {(place / 'comm').read_text().strip()}")
    return found


def _looks() -> Iterator[tuple[str, list[str]]]:
    labelled = f"--filter=label={LABEL}"
    yield "container", call("podman", "ps", "--all", "--format={{.Names}}", labelled).out.split()
    yield "volume", call("podman", "volume", "ls", "--quiet", labelled).out.split()
    yield "network", call("podman", "network", "ls", "--quiet", labelled).out.split()
    mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    yield "mount", [place for place in mounts if place.startswith(_MOUNTS)]
    yield "link", [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(_LINKS)]
    yield "network namespace", _names("/run/netns")
    yield "addresses", _names("/var/lib/cni/networks")
    yield "rule", _rules()
    yield "control group", [path.name for path in Path("/sys/fs/cgroup").rglob("libpod-*") if len(path.name) > 60]
    yield "run", _names("/run/pgberth-test-hosts/rooms")


def _rules() -> list[str]:
    return [line for table in ("nat", "filter") for line in call("iptables", "-t", table, "-S").out.splitlines()]


def _names(place: str) -> list[str]:
    return [path.name for path in Path(place).glob("*")]


def _commands() -> Iterator[tuple[int, str]]:
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(place.name), (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
