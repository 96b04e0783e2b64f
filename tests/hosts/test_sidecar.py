"""A tenant's memory plugin under systemd: it comes back when it ends, and after a reboot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.deploy.product import Inventory
from tests.hosts.commands import wait_for
from tests.hosts.fleet import ACCOUNT, TenantContext, inventory, provisioned
from tests.hosts.host import Boot
from tests.hosts.image import BOOKWORM, TRIXIE

pytestmark = pytest.mark.sampled(1, of="place")

PLUGIN = "one_memory-plugin"
# A plugin of one file: it answers GET /v1/health, and has the sh, cat and tr that the entrypoint needs.
_IMAGE = """set -eu
work=$(mktemp -d); cd "$work"
mkdir -p bin tmp www/v1 && cp "$(command -v busybox)" bin/ && echo '{"status": "ok"}' > www/v1/health
for applet in sh cat tr; do ln -s busybox "bin/$applet"; done
tar -c . | podman import --quiet \\
  --change 'ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "9100", "-h", "/www"]' - localhost/plugin:1
cd /; rm -rf "$work"
"""


@dataclass(frozen=True)
class Place:
    """A host with a tenant whose plugin is required and runs."""

    context: TenantContext
    fleet: Inventory

    def plugin(self) -> str:
        """The id of the running plugin's container; "" where none runs."""
        return self.context.podman("ps", "--quiet", "--no-trunc", f"--filter=name=^{PLUGIN}$").strip()


@pytest.fixture(scope="module", params=[TRIXIE, BOOKWORM], ids=["podman 5", "podman 4"])
def place(
    request: pytest.FixtureRequest, module_hosts: Boot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    host = module_hosts(f"plugin{request.param}", request.param)
    directory = tmp_path_factory.mktemp("fleet")
    bare = TenantContext("one", host, 5501)
    provisioned(inventory(directory, [bare]))
    host.run(_IMAGE, ACCOUNT)
    sidecar = 'Sidecar(image="localhost/plugin:1", port=5601, required=True)'
    context = replace(bare, fields=f"{bare.fields}, sidecar={sidecar}")
    fleet = inventory(directory, [context])
    fleet.provision().went_well()
    yield Place(context, fleet)


def test_a_healthy_plugin_is_left_alone(place: Place) -> None:
    before = place.plugin()
    place.fleet.provision().changed_nothing()
    assert before
    assert place.plugin() == before


def test_a_plugin_that_ends_comes_back_by_itself(place: Place) -> None:
    before = place.plugin()
    place.context.podman("kill", "--signal=KILL", PLUGIN)
    wait_for("another plugin", lambda: "" if place.plugin() not in ("", before) else "it does not run", 60)
    wait_for("a green verify", lambda: place.fleet.verify().line("not healthy"), 60)


def test_it_comes_back_with_its_server_after_a_reboot(place: Place) -> None:
    place.context.host.reboot()
    place.context.wait_until_running()
    wait_for("the plugin", lambda: "" if place.plugin() else "it does not run", 60)
    wait_for("a green verify", lambda: place.fleet.verify().line("not healthy"), 60)
    place.fleet.verify().went_well()


def test_without_it_in_the_inventory_no_unit_is_left(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    bare = replace(place.context, fields='components={"memory_plugin"}')
    inventory(tmp_path_factory.mktemp("fleet"), [bare]).provision().went_well()
    assert place.plugin() == ""
    units = place.context.host.run("ls -R .config/systemd/user 2>/dev/null", ACCOUNT, check=False).out
    assert PLUGIN not in units
