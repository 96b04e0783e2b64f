"""The README's table of profiles is what the profiles are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgberth.model.connections import PLUGIN_POOL, Connections
from pgberth.model.profile import PROFILES, SCAN_ROW

README = (Path(__file__).parents[2] / "README.md").read_text()


def megabytes(text: str) -> str:
    return f"{text[:-1]} {text[-1].upper()}B"


@pytest.mark.parametrize("name", PROFILES)
def test_the_readme_states_every_profile_as_it_is(name: str) -> None:
    profile = PROFILES[name]
    lines = profile.lines()
    remembered = profile.scan_memory * 2**20 // SCAN_ROW // 10_000 * 10_000
    cells = [line.strip("| ").split(" | ") for line in README.splitlines() if line.startswith(f"| `{name}` |")]
    assert cells == [
        [
            f"`{name}`",
            megabytes(profile.memory),
            str(profile.clients),
            f"{profile.rows:,}".replace(",", " "),
            lines["max_connections"],
            f"{profile.max_connections * int(lines['max_locks_per_transaction']):,}".replace(",", " "),
            profile.temp_files.replace("MB", " MB").replace("GB", " GB"),
            profile.search["hnsw.ef_search"],
            f"{profile.scan_memory} MB, about {remembered:,} rows".replace(",000", " 000"),
        ]
    ]


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_has_room_for_a_few_more_clients_and_the_runbook_says_for_how_many(name: str) -> None:
    profile = PROFILES[name]
    for more, pool in ((1, PLUGIN_POOL), (6, 0)):
        assert profile.connections_fault(Connections(profile.clients + more, pool)) is None
        assert profile.connections_fault(Connections(profile.clients + more + 1, pool))
    says = "`clients=` may be 1 more than the profile's number, or 6 more with `plugin_pool=0`"
    assert says in (Path(__file__).parents[2] / "runbooks/application-takes-all.md").read_text()


def test_a_budget_names_each_of_its_terms_and_their_sum() -> None:
    budget = Connections(20)
    assert str(budget).startswith("20 clients + 5 memory plugin + 1 proof of login + 26 the same again")
    assert str(budget).endswith(f"= {budget.total}")
    assert f"= {budget.total}`" in (Connections.__str__.__doc__ or "")
    assert budget.total == sum(budget.terms().values())
