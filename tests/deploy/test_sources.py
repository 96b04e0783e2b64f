"""Passwords that come from elsewhere, on a real tenant: taken at the first deploy, and a change taken up by rotate."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deploy.product import SECONDS, Inventory, Run
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant
from tests.deploy.test_rotate import logs_in, published, stored
from tests.deploy.test_runbooks_live import follow
from tests.deploy.test_secrets import Sampler

VARIABLE = "PGBERTH_TEST_MONITOR"


@dataclass
class Elsewhere:
    """
    A tenant whose passwords but the superuser's lie in a store of the operator's: two in files, one in the environment.

    + passwords: kind -> what the store gives now
    """

    tenant: Tenant
    inventory: Inventory
    store: Path
    passwords: dict[str, str] = field(default_factory=dict)

    def keep(self, *kinds: str) -> None:
        """The store gives new ones for these."""
        for kind in kinds:
            self.passwords[kind] = f"{kind}-{secrets.token_urlsafe(18)}"
            path = self.store / f"{self.tenant.name}-{kind}"
            path.write_text(self.passwords[kind] + "\n")
            path.chmod(0o600)

    def verb(self, verb: str, *options: str) -> Run:
        return self.inventory.verb(verb, *options, seconds=SECONDS, **{VARIABLE: self.passwords["monitor"]})


@pytest.fixture(scope="module")
def elsewhere(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    tenant, store = site.tenant("given"), tmp_path_factory.mktemp("store")
    inventory = site.inventory(tenant)
    references = {
        "app": f"secret://file{store}/{{tenant}}-app",
        "migrator": f"secret://command/cat {store}/{{tenant}}-migrator",
        "monitor": f"secret://env/{VARIABLE}",
    }
    text = inventory.path.read_text()
    inventory.path.write_text(text.replace("image=_image)", f"image=_image, secrets={references!r})"))
    made = Elsewhere(tenant, inventory, store)
    made.keep("app", "migrator", "monitor")
    yield made
    site.remove(tenant)


def test_what_no_source_gives_is_listed_before_anything_is_touched(elsewhere: Elsewhere) -> None:
    (elsewhere.store / f"{elsewhere.tenant.name}-app").rename(elsewhere.store / "hidden")
    try:
        run = elsewhere.inventory.verb("provision", seconds=SECONDS, **{VARIABLE: "short"}).failed()
    finally:
        (elsewhere.store / "hidden").rename(elsewhere.store / f"{elsewhere.tenant.name}-app")
    name = elsewhere.tenant.name
    assert run.line(f"{name}: password of app: secret://file", "cannot be read: No such file or directory"), run.err
    assert run.line(f"{name}: password of monitor: secret://env/{VARIABLE} does not give a password: it must be "), (
        run.err
    )
    assert not elsewhere.tenant.directory.exists()


def test_each_role_has_the_password_that_its_source_gives(elsewhere: Elsewhere) -> None:
    elsewhere.verb("provision").went_well()
    assert published(elsewhere.tenant) == ("memory_app_a", elsewhere.passwords["app"])
    for role, kind in (("memory_app_a", "app"), ("memory_migrator", "migrator"), ("memory_monitor", "monitor")):
        assert logs_in(elsewhere.tenant, role, elsewhere.passwords[kind])
    kept = stored(elsewhere.tenant)
    assert {kind: kept[f"{kind}-v1"] for kind in elsewhere.passwords} == elsewhere.passwords
    assert len(kept["superuser-v1"]) == 32  # made on the machine
    elsewhere.verb("provision").changed_nothing()


def test_what_needs_no_password_from_elsewhere_asks_nobody(elsewhere: Elsewhere) -> None:
    elsewhere.inventory.verify().changed_nothing()
    elsewhere.inventory.status().went_well()


def test_while_the_sources_give_what_is_in_use_there_is_nothing_to_rotate_to(elsewhere: Elsewhere) -> None:
    run = elsewhere.verb("rotate", "--data", "drain=1").went_well()
    for kind in elsewhere.passwords:
        assert run.line(f"password of {kind}: its source still gives the one in use, so it was not rotated"), run.err
    assert set(stored(elsewhere.tenant)) == {"app-v1", "migrator-v1", "monitor-v1", "superuser-v2"}


def test_a_password_changed_at_its_source_is_told_by_a_deploy_and_taken_up_by_rotate(elsewhere: Elsewhere) -> None:
    previous = dict(elsewhere.passwords)
    elsewhere.keep("app", "migrator")
    run = elsewhere.verb("provision").changed_nothing()
    for kind in ("app", "migrator"):
        said = f"password of {kind}: its source gives another one now; deploy/rotate.py applies it"
        assert run.line(elsewhere.tenant.name, said), run.err
    with Sampler().looking() as sampler:
        run = elsewhere.verb("rotate", "-vvv", "--data", "drain=1").went_well()
    assert published(elsewhere.tenant) == ("memory_app_b", elsewhere.passwords["app"])
    assert logs_in(elsewhere.tenant, "memory_migrator", elsewhere.passwords["migrator"])
    assert not logs_in(elsewhere.tenant, "memory_migrator", previous["migrator"])
    assert not logs_in(elsewhere.tenant, "memory_app_a", previous["app"])
    seen = b"\n".join(sampler.seen) + run.said.encode()
    for kind in ("app", "migrator"):
        assert previous[kind].encode() not in seen
        assert elsewhere.passwords[kind].encode() not in seen
    elsewhere.verb("provision").changed_nothing()


def test_a_rotation_goes_as_its_page_says(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, elsewhere.passwords["monitor"])
    elsewhere.keep("app")
    follow("passwords-from-elsewhere", (4, 5), elsewhere.tenant, elsewhere.inventory)
    assert published(elsewhere.tenant)[1] == elsewhere.passwords["app"]


def test_no_process_that_a_deploy_starts_carries_what_its_environment_gave(elsewhere: Elsewhere) -> None:
    with Sampler().looking() as sampler:
        elsewhere.verb("provision").changed_nothing()
    carried = [text for text in sampler.seen if elsewhere.passwords["monitor"].encode() in text]
    assert len(carried) == 1, carried  # its own, as the operator started it
