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

from pgberth.inventory import run_inventory as reading
from pgberth.inventory.fleet_file import fleet_beside
from pgberth.inventory.load import Fleet
from pgberth.model.image import Image
from pgberth.model.problems import Refused
from pgberth.run import current_run
from pgberth.verbs import fleet as fleets
from tests.verbs.runs import ROOT

# pyinfra's command line patches the whole process for gevent when it is imported; the other tests run in it, too.
with mock.patch("gevent.monkey.patch_all"):
    from pyinfra_cli.inventory import make_inventory

PLAIN = """\
from pgberth.inventory import ALL, Image, machine, tenant

_here = machine("@local", account="svc")

machines = [_here.host]
canary = [tenant("acme", on=_here, port=5501, components={"memory_plugin"})]
production = [tenant("globex", on=_here, port=5502, components=ALL, image=Image("sid"))]
"""


class Loaded:
    """An inventory file and its group data, loaded as the command line does."""

    def __init__(self, place: Path, text: str, group_data: dict[str, str], yaml: str, data: dict[str, Any]):
        current_run.cache_clear()  # lines are told apart within one run, which has one inventory
        folder = place / "inventories"
        (folder / "group_data").mkdir(parents=True)
        (folder / "prod.py").write_text(text)
        if yaml:
            (folder / "prod.yaml").write_text(yaml)
        for group, told in group_data.items():
            (folder / f"group_data/{group}.py").write_text(told)
        with ctx_state.use(SimpleNamespace(cwd=str(place), current_exec_filename=None)):
            self.inventory: Inventory = make_inventory(str(folder / "prod.py"), override_data=data, cwd=str(place))
        ctx_state.reset()

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
        found = self.ask(lambda: fleets.fleet(*switches))
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
    def loaded(text: str = PLAIN, group_data: dict[str, str] | None = None, yaml: str = "", **data: Any) -> Loaded:
        return Loaded(tmp_path, text, group_data or {}, yaml, data)

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


EXAMPLE = (ROOT / "inventories/fleet_example.py").read_text()
EXAMPLE_YAML = (ROOT / "inventories/fleet_example.yaml").read_text()


def test_the_fleet_that_comes_with_the_bundle_is_one_of_two_machines_and_two_rings(load: Load) -> None:
    found = load(EXAMPLE, yaml=EXAMPLE_YAML).fleet()
    assert set(found.machines) == {"db1", "db2"}
    assert {name: tenant.rings for name, tenant in found.tenants.items()} == {
        **dict.fromkeys(("agents", "sandbox"), ("canary",)),
        **dict.fromkeys(("acme", "globex", "initech", "umbrella"), ("production",)),
    }
    assert found.tenants["globex"].components == {"memory_plugin": "head", "knowledge": 1}
    assert found.tenants["initech"].parameters == {"memory_plugin": {"dimension": 1024}}


def test_of_a_fleet_in_yaml_everything_wrong_is_told_at_once_with_its_line(load: Load) -> None:
    spoilt = EXAMPLE_YAML
    for right, wrong in {
        "ssh_user: root": "ssh_usr: root",
        "port: 5501": "port: 80",
        "port: 5503": "prot: 5503",
        "[control_plane]": "[control_plane]\n      components: [control_plan]",
        "on: db2\n      port: 5502": "on: db3\n      port: 5502\n      profile: 1e5",
        "    acme:": "    NO:",
    }.items():
        assert right in spoilt
        spoilt = spoilt.replace(right, wrong, 1)
    facts = load(EXAMPLE, yaml=spoilt).refusal()
    places = [fact.partition(": ")[0].rpartition(":")[2] for fact in facts if fact.startswith("inventories/prod.yaml:")]
    assert sorted(map(int, places)) == [7, 20, 27, 31, 33, 37, 39, 39, 47], facts
    for part in (
        "inventories/prod.yaml:7: machine 'db1': unknown field 'ssh_usr' (did you mean 'ssh_user'?)",
        "inventories/prod.yaml:20: tenant 'agents': port 80 must be a whole number from 1024 to 65535",
        "inventories/prod.yaml:27: tenant 'NO': name must be 1 to 31 of a-z",
        "inventories/prod.yaml:37: tenant 'initech': on: 'db3' is not a machine of this inventory (did you mean 'db",
        "inventories/prod.yaml:47: tenant 'umbrella': 'components' appears twice: here and inventories/prod.yaml:46",
    ):
        assert any(part in fact for fact in facts), facts


def test_a_fleet_in_yaml_gets_its_rings_group_data_too(load: Load) -> None:
    data = {"canary": "tenant_defaults = {'superuser_tcp': True}\n"}
    found = load(EXAMPLE, data, yaml=EXAMPLE_YAML).fleet()
    assert [name for name, tenant in found.tenants.items() if tenant.superuser_tcp] == ["agents", "sandbox"]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (None, "inventories/prod.yaml cannot be read: No such file or directory"),
        (b"machines:\n  \xff:\n", "inventories/prod.yaml is not UTF-8: invalid start byte at byte 12"),
        (b"machines:\n", "inventories/prod.yaml:1: the file: `rings:` is missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, written: bytes | None, says: str) -> None:
    inventory = tmp_path / "inventories/prod.py"
    inventory.parent.mkdir()
    if written is not None:
        inventory.with_suffix(".yaml").write_bytes(written)
    with pytest.raises(Refused) as refused:
        fleet_beside(str(inventory))
    assert any(problem.fact == says and problem.hint for problem in refused.value.problems), refused.value


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


def test_group_data_of_pyinfra_s_own_and_of_another_inventory_are_left_alone(load: Load) -> None:
    found = load(group_data={"machines": "ssh_user = 'ada'\n_sudo = True\n", "canary_eu": "tenant_defaults = {}\n"})
    assert found.fleet().tenants


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
    "a slip in the name of group data": (
        {"group_data": {"canary": "tenant_default = {}\n"}},
        ["group_data of 'canary': unknown 'tenant_default' (did you mean 'tenant_defaults'?)"],
    ),
    "a tenant's field that stands alone": (
        {"group_data": {"canary": "superuser_tcp = True\n"}},
        ["group_data of 'canary': unknown 'superuser_tcp' (it belongs in tenant_defaults)"],
    ),
    "group data that nobody knows": (
        {"group_data": {"all": "colour = 'red'\n"}},
        ["group_data of 'all': unknown 'colour'"],
    ),
    "a slip in the name of a group": (
        {"group_data": {"canry": "tenant_defaults = {}\n"}},
        ["group_data of 'canry': the inventory has no host in that group (did you mean 'canary'?)"],
    ),
    "an unknown switch": ({"smok": False}, ["--data smok: unknown (did you mean 'smoke'?)"]),
    "two unknown switches": ({"image": "x", "port": 1}, ["--data image: unknown", "--data port: unknown"]),
    "no tenant": (
        {"text": "from pgberth.inventory import machine\nmachines = [machine('@local').host]\n"},
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
            "text": "from pgberth.inventory import machine, tenant\n"
            "_here = machine('@local')\nmachines = [_here.host]\n"
            "production = [tenant('acme', on=_here, port=p, components={'knowledge'}) for p in (5501, 5502)]\n"
        },
        ["tenant 'acme' is declared twice: inventories/prod.py:4 and inventories/prod.py:4 (time 2)"],
    ),
    "one name in two rings": (
        {"text": f"{PLAIN}eu = [tenant('acme', on=_here, port=5503, components={{'knowledge'}})]\n"},
        ["tenant 'acme' is declared twice: inventories/prod.py:6 and inventories/prod.py:8"],
    ),
    "nameless lines": (
        {"text": f"{PLAIN}eu = [tenant('', on=machine(''), port=5503, components={{'knowledge'}})]\n"},
        ["inventories/prod.py:8: tenant '': name must be"],
    ),
    "a nameless machine": (
        {"text": PLAIN.replace("'@local'", "''").replace('"@local"', '""')},
        ["inventories/prod.py:3: machine '': name must be '@local', or a host name or address"],
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
    given, desired = BAD[what]
    told = load(**given).refusal("smoke")
    for line in desired:
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


@pytest.mark.parametrize("value", [1, 4, 100])
def test_a_number_is_one_within_its_bounds(load: Load, value: int) -> None:
    assert load(max_down=value).ask(lambda: reading.number("max_down", 1, least=1, most=100)) == value


@pytest.mark.parametrize("value", [0, -1, 101, "two", 1.5, True, None])
def test_any_other_number_is_refused_with_what_to_do(load: Load, value: object) -> None:
    says = r"--data max_down=.* must be a whole number from 1 to 100\nHINT: nothing was done; "
    with pytest.raises(DeployError, match=says):
        load(max_down=value).ask(lambda: reading.number("max_down", 1, least=1, most=100))
