"""Who makes an image, who has it from whom, and what lies between two machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgberth.machine.image_inventory import ImageInventory, ImageState
from pgberth.model.image import Image

BUILT = Image()
NAMED = Image(name="registry.example/x/postgres:18")
A, B = ImageState("sha256:aa", "sha256:0a"), ImageState("sha256:bb", "sha256:0b")
NOTHING = ImageState()


def image_inventory(*held: ImageState | None, image: Image = BUILT, failed: str = "") -> ImageInventory:
    """Machines db1, db2, ... that want the image, with what each told; None told nothing."""
    names = [f"db{number}" for number in range(1, len(held) + 1)]
    made = ImageInventory({name: [image] for name in names}, lambda name: name == failed)
    for name, has in zip(names, held, strict=True):
        if has is not None:
            made.record(name, image, has)
    return made


@pytest.mark.parametrize(
    ("found", "source", "maker", "lacking"),
    [
        (image_inventory(NOTHING, NOTHING), "", "db1", []),
        (image_inventory(NOTHING, A), "db2", "", ["db1"]),
        (image_inventory(A, A), "db1", "", []),
        (image_inventory(A, B, NOTHING), "db1", "", ["db2", "db3"]),
        (image_inventory(A, B, failed="db1"), "db2", "", []),
        (image_inventory(NOTHING, NOTHING, failed="db1"), "", "db2", []),
        (image_inventory(None, NOTHING), "", "db2", []),
        (image_inventory(None, A, NOTHING), "db2", "", ["db3"]),
        (image_inventory(NOTHING, failed="db1"), "", "", []),
        (image_inventory(), "", "", []),
    ],
)
def test_the_first_that_holds_an_image_gives_it_and_the_first_of_all_makes_it(
    found: ImageInventory, source: str, maker: str, lacking: list[str]
) -> None:
    assert (found.source(BUILT), found.builder(BUILT), found.lacking(BUILT)) == (source, maker, lacking)


def test_a_machine_that_does_not_want_an_image_neither_makes_nor_gives_it() -> None:
    found = image_inventory(NOTHING, NOTHING)
    found.desired = {"db1": [NAMED], "db2": [BUILT]}
    assert found.builder(BUILT) == "db2"


@pytest.mark.parametrize(
    ("found", "recorder", "digest"),
    [
        (image_inventory(NOTHING, B, image=NAMED), "db2", B.digest),
        (image_inventory(A, B, image=NAMED), "db1", A.digest),
        # What a machine recorded counts, whatever became of the machine since it was asked.
        (image_inventory(A, B, image=NAMED, failed="db1"), "db1", A.digest),
        (image_inventory(NOTHING, None, image=NAMED), "", ""),
    ],
)
def test_the_first_record_of_a_digest_counts(found: ImageInventory, recorder: str, digest: str) -> None:
    assert (found.digest_source(NAMED), found.digest(NAMED)) == (recorder, digest)


def test_a_digest_of_the_inventory_counts_before_any_record() -> None:
    image = Image(name=NAMED.name, digest="sha256:" + "0c" * 32)
    assert image_inventory(A, image=image).digest(image) == image.digest


_STAGE = (
    "from pgberth.machine.image_inventory import staging_directory as place; "
    "print(place()); (place() / 'x.tar').touch(); input()"
)


def run_of_another(home: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": str(home)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", _STAGE], stdin=pipe, stdout=pipe, text=True, env=environment)


def test_what_lies_between_two_machines_goes_with_the_run_or_with_the_next(tmp_path: Path) -> None:
    with run_of_another(tmp_path) as killed, run_of_another(tmp_path) as ended:
        assert killed.stdout is not None
        assert ended.stdout is not None
        first, second = Path(killed.stdout.readline().strip()), Path(ended.stdout.readline().strip())
        killed.kill()
        killed.wait()
        ended.communicate("\n")
    assert (first.exists(), second.exists()) == (True, False)
    with run_of_another(tmp_path) as later:
        assert later.stdout is not None
        third = Path(later.stdout.readline().strip())
        assert (first.exists(), third.exists()) == (False, True)
        assert third.parent.stat().st_mode & 0o777 == 0o700
        later.communicate("\n")
    assert list((tmp_path / "pgberth").iterdir()) == []
