"""What the tests of a tenant's container share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_podman import FakePrograms


@pytest.fixture
def machine(tmp_path: Path) -> FakePrograms:
    """A machine of the test's own, without any program but the system's."""
    return FakePrograms(tmp_path)
