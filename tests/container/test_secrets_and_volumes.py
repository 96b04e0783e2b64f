"""How passwords and volumes are created: the scripts, run for real beside a podman that only pretends."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pgberth.container.context import TenantContext
from pgberth.model import layout
from pgberth.model.roles import SECRETS
from tests.container.test_operations import NEW, STORED, do, host
from tests.fake_host import Answer, Sent, as_sent, sent
from tests.fake_podman import FakePrograms
from tests.sample import ACME, IMAGE, MARKER, state

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


def volumes(machine: FakePrograms, *names: str) -> None:
    """Volumes of those names; the directory of each is created."""
    for name in names:
        (machine.home / name).mkdir()


def initialise(machine: FakePrograms, owner: str, *, exists: bool = True) -> subprocess.CompletedProcess[str]:
    place = machine.home / "acme-data-g1"
    machine.answer(
        "podman",
        ("volume exists *", "", 0 if exists else 1),
        ("volume inspect *Labels*", owner, 0),
        ("volume inspect *Mountpoint*", str(place), 0),
    )
    machine.also("podman", "volume create *", f"[ ! -d {place} ] || exit 125")
    machine.also("podman", "volume rm *", f"rmdir {place}")
    return machine.run(do("volume", STORED)[0])


def verbs(machine: FakePrograms) -> list[str]:
    return [" ".join(word for word in call[:2]) for call in machine.asked() if call[0] != "rm"]


def test_a_new_volume_is_created_with_its_owner_and_generation_on_it(machine: FakePrograms) -> None:
    assert initialise(machine, "", exists=False).returncode == 0
    made = next(call for call in machine.asked() if call[:2] == ["volume", "create"])
    assert made[2:] == ["--label", "pgberth.tenant=acme", "--label", "pgberth.generation=1", "acme-data-g1"]
    assert machine.asked()[-1][0] == "run"


def test_a_killed_deploys_container_goes_before_the_volume_it_writes_to(machine: FakePrograms) -> None:
    volumes(machine, "acme-data-g1")
    assert initialise(machine, "acme").returncode == 0
    assert machine.asked()[1:3] == [["image", "exists", IMAGE.id], ["rm", "--force", "--time", "5", "acme-init"]]
    assert verbs(machine)[-3:] == ["volume rm", "volume create", "run --rm"]


@pytest.mark.parametrize("owner", ["", "globex", "<no value>"])
def test_a_volume_whose_label_does_not_name_the_tenant_is_never_removed(machine: FakePrograms, owner: str) -> None:
    volumes(machine, "acme-data-g1")
    done = initialise(machine, owner)
    assert done.returncode == 1
    assert done.stderr.startswith("acme: volume acme-data-g1 is another's")
    assert "HINT: nothing was removed" in done.stderr
    nothing_was_done(machine)


# 0: another initialisation ended after the observation, and its volume is taken as it is.
@pytest.mark.parametrize(("text", "code"), [(json.dumps(MARKER), 0), ("half", 1), ("", 1)])
def test_a_volume_that_got_its_marker_meanwhile_is_never_removed(machine: FakePrograms, text: str, code: int) -> None:
    # A killed deploy's initdb that ran on, or another operator: it is initialised since the observation.
    volumes(machine, "acme-data-g1")
    (machine.home / "acme-data-g1" / layout.MARKER).write_text(text)
    assert initialise(machine, "acme").returncode == code
    nothing_was_done(machine)


def nothing_was_done(machine: FakePrograms) -> None:
    """Apart from one try to create the volume."""
    assert not {"volume rm", "run --rm"} & set(verbs(machine))
    assert verbs(machine).count("volume create") == 1


def test_an_image_that_is_gone_is_named_where_podman_finds_none(machine: FakePrograms) -> None:
    machine.answer("podman", ("run *", "", 125), ("image exists *", "", 1))
    done = machine.run(do("volume", STORED)[0])
    assert done.returncode == 1
    assert f"acme: image {IMAGE.id} is not in podman's store any more\nHINT:" in done.stderr


def list_volumes(machine: FakePrograms) -> subprocess.CompletedProcess[str]:
    here = host(STORED)
    do("volume", here)
    return machine.run(here.asked[0])


def test_volumes_are_listed_newest_first_each_with_its_marker(machine: FakePrograms) -> None:
    names = ["acme-data-g9", "acme-data-g10", "acme-data-g1"]
    volumes(machine, *names)
    (machine.home / "acme-data-g9" / layout.MARKER).write_text(json.dumps(MARKER))
    machine.answer(
        "podman",
        ("volume ls *", "\n".join(names), 0),
        *((f"volume inspect *{name}", str(machine.home / name), 0) for name in names),
    )
    assert list_volumes(machine).stdout.splitlines() == [
        "acme-data-g10 ",
        f"acme-data-g9 {json.dumps(MARKER)}",
        "acme-data-g1 ",
    ]
    assert "label=pgberth.tenant=acme" in machine.asked()[0]


def test_a_podman_that_cannot_list_is_a_failure_not_an_empty_list(machine: FakePrograms) -> None:
    machine.answer("podman", ("*", "", 125))
    assert list_volumes(machine).returncode != 0


def test_no_volumes_is_an_empty_list(machine: FakePrograms) -> None:
    machine.answer("podman", ("volume ls *", "", 0))
    done = list_volumes(machine)
    assert (done.returncode, done.stdout) == (0, "")
