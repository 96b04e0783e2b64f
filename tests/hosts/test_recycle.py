"""Over SSH and under systemd a recycle keeps what it keeps at home: canary first, nothing lost, and the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pgberth.model import layout
from pgberth.model.profile import PROFILES
from tests.hosts.fleet import ACCOUNT, BUILT_THERE, TenantContext, inventory
from tests.hosts.image import TRIXIE
from tests.hosts.standing import Place

pytestmark = pytest.mark.sampled(1)

DIES = "localhost/pgberth:18-dies"


def also(context: TenantContext, words: str) -> TenantContext:
    return replace(context, fields=f"{context.fields}, {words}")


def container(context: TenantContext) -> str:
    return str(context.container()["Id"])


def test_a_setting_goes_to_the_canary_first_and_to_the_others_once_it_is_proven(place: Place, tmp_path: Path) -> None:
    one, two = place.berths
    image = BUILT_THERE if place.suite == TRIXIE else ""
    desired = inventory(tmp_path, [also(context, 'profile="medium"') for context in place.berths], image=image)
    before, units = container(two), place.units("two")
    system = "SELECT system_identifier FROM pg_control_system()"
    identity = two.superuser(system)
    # What no container is made anew for goes first; for the rest it says what waits.
    deployed = desired.provision().went_well()
    assert deployed.line("two: pending: recycle (profile "), deployed.err
    refused = desired.verb("recycle", "--limit", "production").failed()
    assert refused.line("two", "no canary tenant runs what this one would get"), refused.said
    assert container(two) == before
    for fleet, profile in ((desired, PROFILES["medium"]), (place.fleet, PROFILES["small"])):
        fleet.provision().went_well()
        run = fleet.verb("recycle", "--data", "reason=more of them").went_well()
        for context in (one, two):
            assert run.line(context.name, "recycled: gap", " ms, 0 lost of "), run.err
            assert context.superuser("SHOW max_connections") == profile.lines()["max_connections"]
        first, second = (context.container()["Created"] for context in (one, two))
        assert first < second
        assert (place.units("two"), place.systemctl("is-active", "pgberth-two.service")) == (units, "active")
        fleet.provision().changed_nothing()
    assert two.superuser(system) == identity
    place.fleet.verify().went_well()


def test_an_image_whose_server_dies_goes_back_to_the_former_one(place: Place, tmp_path: Path) -> None:
    one, _ = place.berths
    told = json.loads(one.host.run(f"cat {layout.MACHINE_FILE}", ACCOUNT).out)
    usual = next(iter(told["images"].values()))
    one.host.run(f"cp {layout.MACHINE_FILE} machine.kept", ACCOUNT)
    dies = f"FROM {usual['id']}\nUSER 0\nRUN printf '#!/bin/sh\\nexit 3\\n' > {usual['bindir']}/postgres\n"
    build = f"cat > Containerfile && podman build --quiet --isolation=chroot --tag {DIES} -f Containerfile"
    built = one.host.run(build, ACCOUNT, stdin=dies).out.split()[-1]
    told["images"][DIES] = {**usual, "id": f"sha256:{built}"}
    one.host.run(f"cat > {layout.MACHINE_FILE}", ACCOUNT, stdin=json.dumps(told))
    desired = inventory(tmp_path, [also(one, 'image=Image("dies")')])
    try:
        run = desired.verb("recycle").failed()
    finally:
        one.host.run(f"mv machine.kept {layout.MACHINE_FILE}", ACCOUNT)
    assert run.line("one", "went back to the previous spec", "which is green"), run.err
    assert run.line("went back: gap", "0 lost of"), run.err
    one.podman("image", "rm", DIES)
    assert place.systemctl("is-active", "pgberth-one.service") == "active"
    place.fleet.verify().went_well()
    place.fleet.provision().changed_nothing()
