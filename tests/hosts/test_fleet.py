"""The fleet that comes with the bundle, its addresses and key replaced and nothing else: it deploys, and is told of."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.product import REPO, Inventory, Run
from tests.hosts import server_image
from tests.hosts.fleet import ACCOUNT, provisioned
from tests.hosts.host import Boot, Host
from tests.hosts.image import BOOKWORM, TRIXIE

EXAMPLE = "fleet_example"
TENANTS = {"agents": "db1", "sandbox": "db2", "acme": "db1", "globex": "db1", "initech": "db2", "umbrella": "db2"}


@dataclass(frozen=True)
class Fleet:
    """+ hosts: by the machine's name in the inventory"""

    inventory: Inventory
    hosts: dict[str, Host]

    @property
    def yaml(self) -> Path:
        return self.inventory.path.with_suffix(".yaml")

    def edited(self, text: str, other: str) -> Inventory:
        """The same beside it, with a part of the YAML replaced."""
        copy = self.inventory.path.with_name("edited.py")
        shutil.copy(self.inventory.path, copy)
        whole = self.yaml.read_text()
        assert text in whole
        copy.with_suffix(".yaml").write_text(whole.replace(text, other, 1))
        return Inventory(copy)


def addressed(text: str, hosts: dict[str, Host]) -> str:
    """The example with the machines' own addresses, key and host keys, which are all that an operator must give."""
    for example, host in zip(("192.0.2.11", "192.0.2.12"), hosts.values(), strict=True):
        assert text.count(example) == 1
        text = text.replace(example, host.address)
    keys = next(iter(hosts.values())).keys
    text = text.replace("~/.ssh/id_ed25519", str(keys.private))
    return text.replace("~/.ssh/known_hosts", str(keys.known_hosts))


@pytest.fixture(scope="module")
def bare(module_hosts: Boot, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """The example over two hosts that nothing was ever done to."""
    place = tmp_path_factory.mktemp("fleet") / "inventories"
    (place / "group_data").mkdir(parents=True)
    hosts = {"db1": module_hosts("fleet-one", TRIXIE), "db2": module_hosts("fleet-two", BOOKWORM)}
    shutil.copy(REPO / f"inventories/{EXAMPLE}.py", place)
    (place / f"{EXAMPLE}.yaml").write_text(addressed((REPO / f"inventories/{EXAMPLE}.yaml").read_text(), hosts))
    # Said beside the example, as all rings' defaults are: so that no machine has to build its image.
    heading = "from pgberth.inventory import Image as _Image\n"
    image = f"{heading}tenant_defaults = {{'image': _Image(archive={_archive()!r})}}\n"
    (place / "group_data/all.py").write_text(image)
    return Fleet(Inventory(place / f"{EXAMPLE}.py"), hosts)


@pytest.fixture(scope="module")
def fleet(bare: Fleet, measured: dict[str, float]) -> Fleet:
    measured["the example's six tenants on two fresh hosts"] = provisioned(bare.inventory).seconds
    return bare


def _archive() -> str:
    return str(server_image.provide())


def row(run: Run, tenant: str) -> str:
    return next((line for line in run.err.splitlines() if line.startswith(f"{tenant} ")), "")


def test_what_is_wrong_on_any_machine_is_listed_together_before_anything_is_touched(bare: Fleet) -> None:
    one, two = bare.hosts.values()
    down = "  db3:\n    ssh_hostname: 127.0.0.1\n    ssh_port: 1\n    ssh_user: root\n"
    inventory = bare.edited("machines:\n", f"machines:\n{down}")
    one.run("mount -t tmpfs -o size=50m,nr_inodes=10k none /home")
    two.run(f"cp /etc/subuid /etc/subuid.kept; printf '{ACCOUNT}:7000000:65536\\nbob:7000000:65536\\n' >> /etc/subuid")
    before = there(bare)
    try:
        run = inventory.provision().failed()
    finally:
        one.run("umount /home")
        two.run("mv /etc/subuid.kept /etc/subuid")
    assert there(bare) == before
    end = run.err[run.err.rindex("Disconnecting") :]
    for problem in (
        "db1: 50 MiB free for /home",
        "inodes free for /home",
        f"db2: subordinate ids of {ACCOUNT} also belong to bob",
        "db3: unreachable: ",
    ):
        assert problem in end, run.err
    for tenant, machine in TENANTS.items():
        assert f"{tenant}: its machine {machine} failed; see above" in run.err, run.err


def there(fleet: Fleet) -> list[str]:
    """What a deploy begins with: packages, accounts, what they may keep running."""
    look = "dpkg-query --show; cat /etc/passwd /etc/subgid; ls /var/lib/systemd/linger /home"
    return [host.run(look, check=False).out for host in fleet.hosts.values()]


def test_every_tenant_of_the_example_is_proven_and_a_second_run_changes_nothing(
    fleet: Fleet, measured: dict[str, float]
) -> None:
    run = fleet.inventory.provision().changed_nothing()
    measured["second deploy of the example"] = run.seconds
    for tenant in TENANTS:
        assert re.search(r"\d+ passed", row(run, tenant)), run.err


def test_each_tenant_is_on_the_machine_that_the_example_says(fleet: Fleet) -> None:
    for machine, host in fleet.hosts.items():
        said = host.run("podman ps --format '{{.Names}}'", ACCOUNT).out.split()
        assert set(said) == {tenant for tenant, on in TENANTS.items() if on == machine}


def test_a_tenant_taken_out_is_told_by_status_with_its_machine_and_all_it_has_there(fleet: Fleet) -> None:
    globex = re.search(r"    globex:\n(      .*\n)+", fleet.yaml.read_text())
    assert globex
    run = fleet.edited(globex[0], "").status().went_well()
    told = run.line("db1: unmanaged tenant 'globex'")
    for thing in ("container", "directory", "volume:globex-data-g1", "unit:pgberth-globex.container", "kept as it is"):
        assert thing in told, run.err
    assert not run.line("db2: unmanaged"), run.err


# The last: the machine stays off.
def test_a_machine_that_is_down_is_named_with_its_tenants_and_the_others_are_told_of(fleet: Fleet) -> None:
    fleet.hosts["db2"].power_off()
    run = fleet.inventory.status().failed()
    assert run.line("db2: unreachable: "), run.err
    for tenant, machine in TENANTS.items():
        assert ("running g1" if machine == "db1" else "UNREACHABLE") in row(run, tenant), run.err
