"""What a tenant holds of the machine's memory while nobody asks it anything."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from pathlib import Path

from tests.bench.conftest import Ground
from tests.bench.figures import Figure, take
from tests.deploy.processes import processes
from tests.deploy.tenant import Tenant

Kinds = dict[str, float]

LIMIT = 16.0  # MB
# What podman keeps running beside each container; the account's one pause process is shared by all of them.
PODMANS_OWN = ("conmon", "slirp4netns", "pasta", "pasta.avx2", "rootlessport", "rootlessport-child", "catatonit")


def test_what_a_server_without_neighbours_holds_is_told(ground: Ground) -> None:
    """
    With a server's own memory apart from the pages of its program and libraries: those are there once for all tenants
    of an image, and PSS gives them to this one server for as long as it is alone.
    """
    held = idle_server(ground)
    told(f"idle server without neighbours ({held['Pss_File']:.1f} MB of it the program's pages)", held["Pss"])
    told("the same without the program's pages", held["Pss_Anon"] + held["Pss_Shmem"])
    for program, pss in beside(ground.alone).items():
        told(f"podman's {program} beside it", pss)


def test_an_idle_server_of_the_small_profile_takes_at_most_16_mb(ground: Ground, many: list[Tenant]) -> None:
    """
    As one of twenty tenants. PSS, so that what they share is counted once among them: right after a start, and again
    after the suite has asked it everything and a checkpoint has gone over what that touched.
    """
    held = idle_server(ground)
    told(f"idle server among {len(many)}, after a start", held["Pss"], LIMIT)
    ground.site.inventory(ground.alone).verify().went_well()
    told(f"idle server among {len(many)}, after the suite", after_a_checkpoint(ground.alone)["Pss"], LIMIT)
    told("one that has made its databases since its start", after_a_checkpoint(many[-1])["Pss"])


def after_a_checkpoint(tenant: Tenant) -> Kinds:
    tenant.superuser("CHECKPOINT")
    time.sleep(1)  # the last session's process ends
    return in_container(tenant)


def told(name: str, megabytes: float, limit: float = 0.0) -> None:
    take(Figure(name, f"{megabytes:.1f} MB", f"{LIMIT:.0f} MB" if limit else "-", megabytes / LIMIT, limit / LIMIT))


def idle_server(ground: Ground) -> Kinds:
    """What a server holds that has just been started and asked nothing but whether it is as it should be."""
    ground.site.account.podman("stop", ground.alone.name)
    ground.provision(ground.site.inventory(ground.alone), "--data", "smoke=false")
    return in_container(ground.alone)


def in_container(tenant: Tenant) -> Kinds:
    """Kind of memory -> MB, of all processes in the container together."""
    first = tenant.container()["State"]["Pid"]
    inside = Path(f"/proc/{first}/ns/pid").readlink()
    places = [Path(f"/proc/{process.pid}") for process in processes(tenant.account.uid)]
    own = [place for place in places if (place / "ns/pid").exists() and (place / "ns/pid").readlink() == inside]
    assert len(own) >= 4, f"a server has more processes than {len(own)}"
    held = [memory(place) for place in own]
    return {kind: sum(one[kind] for one in held) for kind in held[0]}


def beside(tenant: Tenant) -> dict[str, float]:
    """Program -> MB of podman's own processes for the account's only container."""
    found: defaultdict[str, float] = defaultdict(float)
    for process in processes(tenant.account.uid):
        if process.program in PODMANS_OWN:
            found[process.program] += memory(Path(f"/proc/{process.pid}"))["Pss"]
    return found


def memory(place: Path) -> Kinds:
    """Pss, Pss_Anon, Pss_File and Pss_Shmem in MB, as the kernel divides shared pages among those who map them."""
    lines = re.findall(r"^(Pss\w*): +(\d+) kB$", (place / "smaps_rollup").read_text(), re.MULTILINE)
    return {kind: int(kib) / 1024 for kind, kib in lines}
