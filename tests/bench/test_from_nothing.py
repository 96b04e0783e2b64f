"""How long a tenant takes from nothing."""

from __future__ import annotations

from tests.bench.conftest import Ground
from tests.bench.figures import Figure, middle, s, seconds, take
from tests.bench.floor import floor_for

ROUNDS = 5
LIMIT = 1.5


def test_a_tenant_from_nothing_takes_at_most_1_5_times_a_shell_script_beyond_pyinfras_start_up(ground: Ground) -> None:
    """
    With the image present. The script makes the same containers with the same flags, and runs the same SQL in one psql
    session; it writes no secrets, keeps no receipt and checks nothing. The machine is looked at and the smoke suite
    runs within our time.
    """
    floors, ours, ratios, starts = [], [], [], []
    for number in range(ROUNDS):
        bare = ground.site.tenant(f"floor{number}")
        script = floor_for(ground.site.account.run, bare.name, bare.port)
        floors.append(seconds(script.make))
        starts.append(ground.start_up())
        tenant = ground.site.tenant(f"ours{number}")
        ours.append(ground.provision(ground.site.inventory(tenant)).seconds)
        ratios.append((ours[-1] - starts[-1]) / floors[-1])
    for made in ground.site.made[-2 * ROUNDS :]:  # not between the rounds: see Floor.stop
        ground.site.remove(made)
    absolute = f"{s(middle(ours))}, {s(middle(starts))} of it start-up"
    take(Figure("a tenant from nothing", absolute, s(middle(floors)), middle(ratios), LIMIT))
