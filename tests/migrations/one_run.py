"""One runner in a process of its own, to be killed: python -m tests.migrations.one_run CONNINFO ROOT COMPONENT..."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psycopg

from pgberth.migrations import runner
from pgberth.migrations.session import shared
from pgberth.model.problems import Refused


def main(conninfo: str, root: str, *components: str) -> int:
    done = []
    try:
        with shared(lambda: psycopg.connect(conninfo, autocommit=True)) as connect:
            for component in components:
                outcome = runner.apply(connect, component, root=Path(root))
                done += [migration.version for migration in outcome.done]
    except Refused as refused:
        print(json.dumps({"refused": [problem.fact for problem in refused.problems]}))
        return 1
    print(json.dumps({"done": done}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
