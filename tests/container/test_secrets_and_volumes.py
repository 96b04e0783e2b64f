"""How passwords and volumes are created: the scripts, run for real beside a podman that only pretends."""

from __future__ import annotations

import base64
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgberth.container.context import TenantContext
from pgberth.model import layout
from pgberth.model.roles import SECRETS
from tests.container.test_operations import NEW, STORED, do, host, listed
from tests.fake_host import Answer, Sent, as_sent, sent
from tests.fake_podman import FakePrograms
from tests.sample import ACME, IMAGE, READY, state
from tests.volume import begun, cluster, marked, tree_hash

DIRECTORY = layout.directory("acme")


def create_secrets(machine: FakePrograms) -> Path:
    (command,) = do("passwords", NEW)
    done = machine.run(command)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return machine.home / DIRECTORY / "secrets"


def test_each_password_is_a_file_of_32_letters_that_need_no_quoting(machine: FakePrograms) -> None:
    place = create_secrets(machine)
    assert sorted(path.name for path in place.iterdir()) == sorted(f"{kind}-v1" for kind in SECRETS)
    for path in place.iterdir():
        text = path.read_text()
        assert len(base64.urlsafe_b64decode(text)) == 24
        assert len(text) == 33
        assert text.endswith("\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_no_two_passwords_are_the_same(machine: FakePrograms) -> None:
    assert len({path.read_text() for path in create_secrets(machine).iterdir()}) == len(SECRETS)


def test_a_password_that_is_there_is_never_replaced_and_an_empty_one_is(machine: FakePrograms) -> None:
    place = create_secrets(machine)
    before = {path.name: path.read_text() for path in place.iterdir()}
    (place / "app-v1").write_text("")  # a killed writer's
    create_secrets(machine)
    after = {path.name: path.read_text() for path in place.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"app-v1"}
    assert len(after["app-v1"]) == 33


def test_a_password_that_others_may_read_is_closed_and_kept(machine: FakePrograms) -> None:
    place = create_secrets(machine)
    before = (place / "app-v1").read_text()
    (place / "app-v1").chmod(0o644)
    (command,) = do("passwords", state(modes={"secrets/app-v1": "644", "secrets/monitor-v1": "600"}))
    assert command.under_command_lock
    assert machine.run(command).returncode == 0
    assert stat.S_IMODE((place / "app-v1").stat().st_mode) == 0o600
    assert (place / "app-v1").read_text() == before


def test_the_passwords_are_read_back_as_they_were_created(machine: FakePrograms) -> None:
    place = create_secrets(machine)
    here = host(state())
    here.run_shell_command = lambda command, **_: _really(machine, as_sent(command))  # type: ignore[method-assign]
    found: dict[str, str] = {}

    def read(context: TenantContext) -> Any:
        found.update({kind: secret.reveal() for kind in SECRETS if (secret := context.secret(kind)) is not None})
        yield from ()

    read._inner = read  # type: ignore[attr-defined]
    sent(read, here, context=TenantContext(ACME))
    assert found == {kind: (place / f"{kind}-v1").read_text().strip() for kind in SECRETS}


def _really(machine: FakePrograms, asked: Sent) -> Any:
    done = machine.run(asked)
    answer = Answer(done.stdout, done.stderr, done.returncode == 0)
    return answer.done, answer.output()


def volume(machine: FakePrograms, number: int = 1) -> Path:
    """That volume's directory, made empty."""
    place = machine.home / f"acme-data-g{number}/_data"
    place.mkdir(parents=True)
    return place


def initialise(
    machine: FakePrograms, owner: str = "acme", *, init: str | None = None
) -> subprocess.CompletedProcess[str]:
    """
    Initialise acme-data-g1.

    + owner: the volume's label; init: the label of a container with the name of the one that initialises
    """
    place = machine.home / "acme-data-g1/_data"
    (machine.home / layout.MACHINE_FILE).parent.mkdir(parents=True, exist_ok=True)
    (machine.home / layout.MACHINE_FILE).write_text(replace(READY, volumes=str(machine.home), runtime="").to_json())
    machine.answer(
        "podman",
        ("volume exists *", "", 0 if place.exists() else 1),
        ("volume inspect *Labels*", owner, 0),
        ("container exists *", "", 1 if init is None else 0),
        ("container inspect *", init or "", 0),
    )
    machine.also("podman", "volume create *", f"[ ! -d {place} ] || exit 125; mkdir -p {place}")
    machine.also("podman", "volume rm *", f"rm -r {place}")
    return machine.run(do("volume", STORED)[0])


def verbs(machine: FakePrograms) -> list[str]:
    return [" ".join(word for word in call[:2]) for call in machine.asked() if call[0] != "rm"]


def test_a_new_volume_is_created_with_its_owner_and_generation_on_it(machine: FakePrograms) -> None:
    assert initialise(machine).returncode == 0
    made = next(call for call in machine.asked() if call[:2] == ["volume", "create"])
    assert made[2:] == ["--label", "pgberth.tenant=acme", "--label", "pgberth.generation=1", "acme-data-g1"]
    assert verbs(machine) == ["volume create", "run --rm"]


@pytest.mark.parametrize("plant", [lambda _: None, begun], ids=["an empty one", "one that was begun"])
def test_a_killed_deploys_container_goes_before_its_volume_is_initialised_again(
    machine: FakePrograms, plant: Callable[[Path], object]
) -> None:
    plant(volume(machine))
    assert initialise(machine, init="acme").returncode == 0
    assert ["rm", "--force", "--time", "5", "acme-init"] in machine.asked()
    assert verbs(machine)[-1] == "run --rm"
    assert "volume rm" not in verbs(machine)


def test_a_container_that_is_another_tenants_is_not_taken_for_a_killed_deploys(machine: FakePrograms) -> None:
    volume(machine)
    done = initialise(machine, init="acme-init")
    assert done.returncode == 1
    assert done.stderr.startswith("acme: container acme-init is another's\nHINT: nothing was removed")
    assert not [call for call in machine.asked() if call[0] in ("rm", "run")]


@pytest.mark.parametrize("owner", ["", "globex", "<no value>"])
def test_a_volume_whose_label_does_not_name_the_tenant_is_left_alone(machine: FakePrograms, owner: str) -> None:
    volume(machine)
    done = initialise(machine, owner)
    assert done.returncode == 1
    assert done.stderr.startswith("acme: volume acme-data-g1 is another's\nHINT: nothing was removed")
    nothing_was_done(machine)


# What came to lie in the volume since it was looked at.
MEANWHILE: dict[str, tuple[Callable[[Path], object], str]] = {
    # A killed deploy's initdb that ran on: the volume is taken as it is.
    "the tenant's data": (marked, ""),
    "another tenant's data": (lambda place: marked(place, tenant="globex"), "was initialised for another: {"),
    "another cluster": (lambda place: marked(place, system_identifier="8"), "holds the cluster "),
    "half a marker": (lambda place: (place / layout.MARKER).write_text("half"), "has a marker that is not understood"),
    "an empty marker": (lambda place: (place / layout.MARKER).write_text(""), "has a marker that is not understood"),
    "a link for a marker": (lambda place: (place / layout.MARKER).symlink_to("x"), "has a link in the place of its"),
    "a cluster without a marker": (cluster, "holds what no initialisation left there"),
    "a file": (lambda place: (place / "notes").write_text("keep"), "holds what no initialisation left there"),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_came_into_the_volume_meanwhile_is_left_as_it_is(machine: FakePrograms, what: str) -> None:
    plant, why = MEANWHILE[what]
    place = volume(machine)
    plant(place)
    before = tree_hash(place)
    done = initialise(machine)
    assert done.returncode == (1 if why else 0)
    assert not why or done.stderr.startswith(f"acme: its volume acme-data-g1 {why}")
    nothing_was_done(machine)
    assert tree_hash(place) == before


def nothing_was_done(machine: FakePrograms) -> None:
    """Apart from one try to create the volume."""
    assert not {"volume rm", "run --rm"} & set(verbs(machine))
    assert verbs(machine).count("volume create") == 1


def test_what_podman_has_forgotten_is_not_initialised_either(machine: FakePrograms) -> None:
    """podman makes a volume over a directory that is there, without a word."""
    initialise(machine)
    before = tree_hash(cluster(machine.home / "acme-data-g1/_data"))
    machine.also("podman", "volume create *", "exit 0")
    done = machine.run(do("volume", STORED)[0])
    assert done.returncode == 1
    assert done.stderr.startswith("acme: its volume acme-data-g1 holds what no initialisation left there")
    assert tree_hash(machine.home / "acme-data-g1/_data") == before


@pytest.mark.parametrize("filled", [False, True])
def test_an_image_that_is_gone_is_named_and_an_empty_volume_alone_goes_again(
    machine: FakePrograms, filled: bool
) -> None:
    place = machine.home / "acme-data-g1/_data"
    initialise(machine)
    shutil.rmtree(place.parent)
    machine.answer("podman", ("run *", "", 125), ("image exists *", "", 1))
    machine.also("podman", "volume create *", f"mkdir -p {place}")
    machine.also("podman", "run *", f"touch {place}/kept" if filled else "true")
    done = machine.run(do("volume", STORED)[0])
    assert done.returncode == 1
    assert f"acme: image {IMAGE.id} is not in podman's store any more\nHINT:" in done.stderr
    assert (["volume", "rm", "acme-data-g1"] in machine.asked()) is not filled
    assert (place / "kept").exists() is filled


def list_volumes(machine: FakePrograms) -> subprocess.CompletedProcess[str]:
    here = host(STORED, listed())
    do("volume", here)
    return machine.run(here.asked[0])


def test_volumes_are_listed_newest_first_each_with_what_is_in_it(machine: FakePrograms) -> None:
    holds: dict[int, Callable[[Path], object]] = {
        10: cluster,
        9: lambda place: marked(place, generation=9),
        4: lambda place: marked(place, tenant="globex", generation=4),
        3: lambda place: begun(place, generation=3),
        2: lambda _: None,
        1: marked,
    }
    for number, plant in holds.items():
        plant(volume(machine, number))
    (machine.home / "acme-data-gx").mkdir()
    (machine.home / layout.MACHINE_FILE).parent.mkdir(parents=True)
    (machine.home / layout.MACHINE_FILE).write_text(replace(READY, volumes=str(machine.home), runtime="").to_json())
    # Of these, podman has forgotten the first one, and another label is on the last.
    known = [f"acme-data-g{number} {'acme' if number > 1 else 'globex'}" for number in holds if number != 10]
    machine.answer("podman", ("volume ls *", "\n".join([*known, "acme-data-data-g7 acme-data", "other "]), 0))
    assert [
        line[: len(start)] for line, start in zip(list_volumes(machine).stdout.splitlines(), LISTED, strict=True)
    ] == [*LISTED]


LISTED = (
    "acme-data-g10 data",
    "acme-data-g9 own 18",
    'acme-data-g4 foreign was initialised for another: {"tenant": "globex"',
    "acme-data-g3 begun",
    "acme-data-g2 empty",
    "acme-data-g1 foreign has this tenant's marker, and not its label",
)


def test_a_podman_that_cannot_list_is_a_failure_not_an_empty_list(machine: FakePrograms) -> None:
    machine.answer("podman", ("*", "", 125))
    assert list_volumes(machine).returncode != 0


def test_no_volumes_is_an_empty_list(machine: FakePrograms) -> None:
    machine.answer("podman", ("volume ls *", "", 0))
    done = list_volumes(machine)
    assert (done.returncode, done.stdout) == (0, "")
