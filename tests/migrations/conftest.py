"""What the tests of the runner share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgberth.migrations.session import Connect, RetryPolicy
from tests.migrations.tree import Tree, notes
from tests.postgres import Database

HASTY = RetryPolicy(lock_seconds=0.4, table_lock_ms=100, attempts=3, pause_seconds=0.02)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """The component `notes`, in a directory of the test's own."""
    return notes(tmp_path / "sql")


@pytest.fixture
def connect(database: Database) -> Connect:
    """Sessions as the migrator, as the product opens them."""
    return lambda: database.server.connect("memory_migrator", database.name)
