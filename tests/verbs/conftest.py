"""Every scenario of the command line, run once, all of them side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.verbs.runs import Run
from tests.verbs.scenarios import SCENARIOS


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Run]]:
    """Call it with a scenario's name: what came of it. The first call starts them all."""
    begun: dict[str, Future[Run]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def outcome(name: str) -> Run:
            if not begun:
                for scenario, run in SCENARIOS.items():
                    begun[scenario] = pool.submit(run.make, tmp_path_factory.mktemp(scenario))
            return begun[name].result()

        yield outcome
