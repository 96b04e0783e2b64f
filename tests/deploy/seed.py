"""
Where the tests' chance comes from, so that a run can be had again.

Each change of the sources draws anew, and the same sources draw the same: a run that failed fails again, and whoever
looks for what nobody has seen yet gives seeds of his own.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

VARIABLE = "PGBERTH_TEST_SEED"


def _of_the_sources() -> int:
    """From the committed tree; by chance where the sources are under no version control."""
    told = subprocess.run(
        ["git", "rev-parse", "HEAD^{tree}"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return int(told.stdout[:8], 16) % 1_000_000 if told.returncode == 0 else secrets.randbelow(1_000_000)


SEED = int(os.environ.get(VARIABLE) or _of_the_sources())
