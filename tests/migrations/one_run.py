"""One runner in a process of its own, to be killed: python -m tests.migrations.one_run CONNINFO ROOT COMPONENT."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psycopg

from pgberth.migrations import runner
from pgberth.model.problems import Refused


def main(conninfo: str, root: str, component: str) -> int:
    try:
        outcome = runner.apply(lambda: psycopg.connect(conninfo, autocommit=True), component, root=Path(root))
    except Refused as refused:
        print(json.dumps({"refused": [problem.fact for problem in refused.problems]}))
        return 1
    print(json.dumps({"done": [migration.version for migration in outcome.done]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
