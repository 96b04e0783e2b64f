"""The app copies its own schema with PostgreSQL's own program."""

from __future__ import annotations

import subprocess

import pytest

from pgberth.model.tenant import COMPONENTS
from tests.checks.conftest import Live


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_app_dumps_a_component_with_pg_dump(live: Live, component: str) -> None:
    way = live.cluster.conninfo("memory_app_a", "memory")
    command = [str(live.cluster.bin / "pg_dump"), f"--schema={component}", way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"CREATE SCHEMA {component}" in done.stdout
    assert "COPY " in done.stdout
