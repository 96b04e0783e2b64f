"""One runner in a process of its own, to be killed: python -m tests.migrations.one_run CONNINFO ROOT COMPONENT..."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psycopg

from pgberth.migrations import runner
from pgberth.migrations.session import shared
from pgberth.model.problems import Refused


def run(conninfo: str, root: str, *components: str, at: float = 0) -> list[str]:
    """The versions it has applied. + at: begin at this time of day and no sooner, so that several begin at once"""
    done: list[str] = []
    time.sleep(max(at - time.time(), 0))
    with shared(lambda: psycopg.connect(conninfo, autocommit=True)) as connect:
        for component in components:
            outcome = runner.apply(connect, component, root=Path(root))
            done += [migration.version for migration in outcome.done]
    return done


def main(conninfo: str, root: str, *components: str) -> int:
    try:
        done = run(conninfo, root, *components)
    except Refused as refused:
        print(json.dumps({"refused": [problem.fact for problem in refused.problems]}))
        return 1
    print(json.dumps({"done": done}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
