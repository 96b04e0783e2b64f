"""
A deploy that dies at any of its steps is finished by the next one, and the one after that has nothing to do.

`make crash-matrix` tries every step; otherwise a sample is drawn.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.drawn import turn
from tests.crash.local import LocalTenants
from tests.crash.machines import LocalMachines
from tests.crash.matrix import explored
from tests.crash.table import judge
from tests.deploy.site import Site
from tests.hosts import server_image
from tests.sampling import ALL

# Each component has its own named points.
COMPONENTS = ("control_plane", "memory_plugin", "knowledge") if ALL else ("memory_plugin",)


def test_a_tenant_is_whole_after_a_deploy_died_at_any_step(site: Site, tmp_path: Path) -> None:
    judge(explored(LocalTenants(site, COMPONENTS), tmp_path, size=3))


@pytest.mark.usefixtures("root")
def test_a_machine_is_whole_after_a_deploy_died_at_any_step(interruptible: None, tmp_path: Path) -> None:
    turn("machine")
    archive = server_image.provide()
    judge(explored(LocalMachines(tmp_path, f"Image(archive={str(archive)!r})"), tmp_path, size=1))
