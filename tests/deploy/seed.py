"""Where the tests' chance comes from, so that a run can be had again."""

from __future__ import annotations

import os
import secrets

VARIABLE = "PGBERTH_TEST_SEED"
SEED = int(os.environ.get(VARIABLE) or secrets.randbelow(1_000_000))
