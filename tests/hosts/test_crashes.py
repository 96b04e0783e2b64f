"""
A host that loses the network or its power while a deploy is under way is made whole by the next deploy.

`make crash-matrix` tries every step; otherwise a few are drawn.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.crash.drawn import turn
from tests.crash.machines import RemoteMachines
from tests.crash.matrix import explored, side_by_side
from tests.crash.remote import RemoteTenants
from tests.crash.steps import CUT, OFF
from tests.crash.table import judge
from tests.hosts.fleet import TenantContext, inventory
from tests.hosts.host import Boot, Host
from tests.hosts.image import BOOKWORM, TRIXIE
from tests.hosts.room import Room
from tests.sampling import ALL


def used(host: Host, place: Path) -> Host:
    """With a tenant on it: the first one's deploy asks what no later one does, and is the fresh host's to try."""
    inventory(place, [TenantContext("before", host, 5600)]).provision().went_well()
    return host


def test_a_host_is_whole_after_it_lost_its_power_at_any_step(hosts: Boot, tmp_path: Path) -> None:
    turn("powered off")
    suites = (TRIXIE, BOOKWORM) if ALL else (TRIXIE,)
    grounds = [RemoteTenants(used(hosts(f"off{suite}", suite), tmp_path), tmp_path, OFF) for suite in suites]
    judge(side_by_side(partial(explored, ground, tmp_path, 1) for ground in grounds))


def test_a_host_is_whole_after_it_fell_silent_at_any_step(hosts: Boot, tmp_path: Path) -> None:
    turn("silent")
    judge(explored(RemoteTenants(used(hosts("silent"), tmp_path), tmp_path, CUT), tmp_path, size=2))


def test_a_fresh_host_is_whole_after_it_fell_silent_or_lost_its_power_at_any_step(room: Room, tmp_path: Path) -> None:
    if not ALL:
        pytest.skip("each case needs a fresh host: a part of `make crash-matrix`")
    grounds = [RemoteMachines(room, tmp_path, fault) for fault in (OFF, CUT)]
    judge(side_by_side(partial(explored, ground, tmp_path, 1) for ground in grounds))
