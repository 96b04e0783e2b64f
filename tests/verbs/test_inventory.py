"""An inventory file as pyinfra loads it, read as a fleet: rings, group data, switches, and every problem at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from pyinfra.api import Inventory
from pyinfra.api.exceptions import DeployError
from pyinfra.context import ctx_host, ctx_inventory, ctx_state

from pgberth.model.declare import _DECLARED_AT
from pgberth.model.image import Image
from pgberth.model.load import Fleet
from pgberth.verbs import inventory as reading
from tests.verbs.runs import ROOT

# pyinfra's command line patches the whole process for gevent when it is imported; the other tests run in it, too.
with mock.patch("gevent.monkey.patch_all"):
    from pyinfra_cli.inventory import make_inventory  # type: ignore[import-untyped]

PLAIN = """\
from pgberth.model import ALL, Image, machine, tenant

_here = machine("@local", account="svc")

machines = [_here.host]
canary = [tenant("acme", on=_here, port=5501, components={"memory_plugin"})]
production = [tenant("globex", on=_here, port=5502, components=ALL, image=Image("sid"))]
"""


class Loaded:
    """An inventory file and its group data, loaded as the command line does."""

    def __init__(self, place: Path, text: str, group_data: dict[str, str], data: dict[str, Any]):
        _DECLARED_AT.clear()  # lines are told apart within one process, which has one inventory
        folder = place / "inventories"
        (folder / "group_data").mkdir(parents=True)
        (folder / "prod.py").write_text(text)
        for group, told in group_data.items():
            (folder / f"group_data/{group}.py").write_text(told)
        with ctx_state.use(SimpleNamespace(cwd=str(place), current_exec_filename=None)):
            self.inventory: Inventory = make_inventory(str(folder / "prod.py"), override_data=data, cwd=str(place))
        ctx_state.reset()
        reading._fleet.cache_clear()

    def ask(self, question: Callable[[], Any], host: str = "") -> Any:
        """The answer, with this inventory (and host) the current one."""
        ctx_inventory.set(self.inventory)
        ctx_host.set(self.inventory.hosts[host] if host else None)
        try:
            return question()
        finally:
            ctx_inventory.reset()
            ctx_host.reset()

    def fleet(self, *switches: str) -> Fleet:
        found = self.ask(lambda: reading.fleet(*switches))
        assert isinstance(found, Fleet)
        return found

    def refusal(self, *switches: str) -> list[str]:
        with pytest.raises(DeployError) as refused:
            self.fleet(*switches)
        first, *lines = str(refused.value).splitlines()
        assert first == "the inventory is refused:"
        return [line for line in lines if not line.startswith("HINT: ")]


Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str = PLAIN, group_data: dict[str, str] | None = None, **data: Any) -> Loaded:
        return Loaded(tmp_path, text, group_data or {}, data)

    return loaded


def test_an_inventory_is_a_fleet_of_machines_and_tenants(load: Load) -> None:
    found = load().fleet()
    assert {name: machine.account for name, machine in found.machines.items()} == {"@local": "svc"}
    assert {name: tenant.port for name, tenant in found.tenants.items()} == {"acme": 5501, "globex": 5502}
    assert found.tenants["globex"].image == Image("sid")
    assert found.tenants["acme"].machine is found.machines["@local"]


def test_a_tenants_rings_are_its_groups_and_nothing_pyinfra_adds(load: Load) -> None:
    found = load(f"{PLAIN}eu = [canary[0]]\n").fleet()
    assert found.tenants["acme"].rings == ("canary", "eu")
    assert found.tenants["globex"].rings == ("production",)


def test_a_tenant_in_two_rings_is_one_tenant(load: Load) -> None:
    assert len(load(f"{PLAIN}eu = [canary[0]]\n").fleet().tenants) == 2


def test_the_current_host_is_a_machine_or_a_tenant(load: Load) -> None:
    loaded = load()
    found = loaded.fleet()
    assert loaded.ask(lambda: reading.machine_here(found), "@local") == found.machines["@local"]
    assert loaded.ask(lambda: reading.tenant_here(found), "@local") is None
    assert loaded.ask(lambda: reading.tenant_here(found), "acme") == found.tenants["acme"]
    assert loaded.ask(lambda: reading.machine_here(found), "acme") is None


def test_the_inventory_that_comes_with_the_bundle_is_a_fleet(load: Load) -> None:
    found = load((ROOT / "inventories/local.py").read_text()).fleet()
    assert found.tenants


def test_a_rings_group_data_sets_what_its_tenants_do_not_say(load: Load) -> None:
    found = load(group_data={"canary": "tenant_defaults = {'superuser_tcp': True}\n"}).fleet()
    assert (found.tenants["acme"].superuser_tcp, found.tenants["globex"].superuser_tcp) == (True, False)


def test_group_data_of_all_holds_for_every_tenant_and_a_rings_own_wins(load: Load) -> None:
    found = load(
        group_data={
            "all": "tenant_defaults = {'superuser_tcp': True, 'allow_old_pgvector': True}\n",
            "canary": "tenant_defaults = {'superuser_tcp': False}\n",
        }
    ).fleet()
    flags = {name: (tenant.superuser_tcp, tenant.allow_old_pgvector) for name, tenant in found.tenants.items()}
    assert flags == {"acme": (False, True), "globex": (True, True)}


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "group data": (
        {
            "group_data": {
                "canary": "tenant_defaults = {'profil': 'small', 'port': 5501}\n",
                "production": "tenant_defaults = 5\n",
            }
        },
        [
            "group_data of 'canary': tenant_defaults: unknown field 'profil' (did you mean 'profile'?)",
            "group_data of 'canary': tenant_defaults: unknown field 'port'",
            "group_data of 'production': tenant_defaults: unknown field 'tenant_defaults'",
        ],
    ),
    "an unknown switch": ({"smok": False}, ["--data smok: unknown (did you mean 'smoke'?)"]),
    "two unknown switches": ({"image": "x", "port": 1}, ["--data image: unknown", "--data port: unknown"]),
    "no tenant": (
        {"text": "from pgberth.model import machine\nmachines = [machine('@local').host]\n"},
        ["the inventory declares no tenant"],
    ),
    "parameters nobody asks for": (
        {"text": PLAIN.replace('"memory_plugin"}', '"memory_plugin"}, parameters={"memory_plugin": {"dimnsion": 5}}')},
        ["acme: parameters: memory_plugin has no 'dimnsion' (did you mean 'dimension'?)"],
    ),
    "parameters of another component": (
        {"text": PLAIN.replace('"memory_plugin"}', '"memory_plugin"}, parameters={"knowledge": {}}')},
        ["acme: parameters for 'knowledge', which is not among its components"],
    ),
    "one name twice by a loop": (
        {
            "text": "from pgberth.model import machine, tenant\n_here = machine('@local')\nmachines = [_here.host]\n"
            "production = [tenant('acme', on=_here, port=p, components={'knowledge'}) for p in (5501, 5502)]\n"
        },
        ["tenant 'acme' stands twice: inventories/prod.py:4 and inventories/prod.py:4 (time 2)"],
    ),
    "one name in two rings": (
        {"text": f"{PLAIN}eu = [tenant('acme', on=_here, port=5503, components={{'knowledge'}})]\n"},
        ["tenant 'acme' stands twice: inventories/prod.py:6 and inventories/prod.py:8"],
    ),
    "a tenant named like the machine": (
        {"text": f"{PLAIN}eu = [tenant('@local', on=_here, port=5503, components={{'knowledge'}})]\n"},
        ["tenant '@local': name must be"],
    ),
    "everything at once": (
        {"text": PLAIN.replace("5501", "80").replace("5502", "'5502'"), "smok": 1},
        ["--data smok: unknown", "tenant 'acme': port 80 must be", "tenant 'globex': port '5502' must be"],
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_with_every_problem(load: Load, what: str) -> None:
    given, wanted = BAD[what]
    told = load(**given).refusal("smoke")
    for line in wanted:
        assert any(line in problem for problem in told), told


def test_the_switches_of_the_connection_are_pyinfras_own(load: Load) -> None:
    assert load(ssh_user="ada").fleet("smoke")


@pytest.mark.parametrize(("given", "value"), [({}, True), ({"smoke": False}, False), ({"smoke": True}, True)])
def test_a_switch_is_yes_or_no_and_has_a_default(load: Load, given: dict[str, Any], value: bool) -> None:
    assert load(**given).ask(lambda: reading.switch("smoke", True)) is value


@pytest.mark.parametrize("value", ["perhaps", 1, 0, None, "false"])
def test_any_other_value_of_a_switch_is_refused(load: Load, value: object) -> None:
    with pytest.raises(DeployError, match=r"--data smoke=.* must be true or false"):
        load(smoke=value).ask(lambda: reading.switch("smoke", True))
