"""list-data.sh: whose data `make clean` would delete, run for real beside a podman that only pretends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pgberth import commands
from pgberth.clean import LIST_DATA
from pgberth.model import layout
from tests.fake_podman import FakePrograms
from tests.sample import READY
from tests.volume import begun, cluster, marked


def test_a_volume_whose_data_is_not_shown_to_be_its_tenants_is_named_besides(tmp_path: Path) -> None:
    machine = FakePrograms(tmp_path)
    there: dict[str, Callable[[Path], object]] = {
        "acme-data-g1 acme": marked,
        "acme-data-g2 acme": lambda place: begun(place, generation=2),
        "acme-data-g3 acme": lambda _: None,
        "globex-data-g1 globex": cluster,
        "initech-data-g1 initech": marked,
        "hooli-data-gx hooli": marked,
        "somebodys ": cluster,
        "acme-data-g4 ": lambda _: None,
    }
    for line, plant in there.items():
        place = tmp_path / line.split()[0] / "_data"
        place.mkdir(parents=True)
        plant(place)
    (tmp_path / layout.MACHINE_FILE).parent.mkdir(parents=True)
    (tmp_path / layout.MACHINE_FILE).write_text(replace(READY, volumes=str(tmp_path)).to_json())
    machine.answer("podman", ("volume ls *", "\n".join(there), 0))
    script, *arguments = LIST_DATA
    done = machine.run(commands.script(script), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        *("acme", "acme", "acme", "globex", "volume globex-data-g1", "initech", "volume initech-data-g1"),
        *("volume hooli-data-gx", "volume somebodys", "volume acme-data-g4"),
    ]
