"""What an inventory file calls: each line becomes a host, and nothing is judged yet."""

from __future__ import annotations

from typing import Any

import pytest

from pgberth.inventory import ALL, Image, machine, tenant
from pgberth.inventory.declare import DECLARED, MachineLine
from pgberth.model.tenant import COMPONENTS


def declared(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key.startswith(DECLARED)}


def test_this_machine_is_a_host_with_the_default_account() -> None:
    name, data = machine("@local").host
    assert name == "@local"
    assert list(data.values()) == [("machine", "@local", {"account": "pgberth"}, {})]


def test_a_machine_keeps_what_is_written_of_it_even_where_it_is_wrong() -> None:
    line = machine("@local", account="svc", acount="typo")
    assert line.fields == {"account": "svc", "acount": "typo"}


def test_a_tenant_of_this_machine_is_a_host_of_our_own_connector() -> None:
    name, data = tenant("acme", on=machine("@local", account="svc"), port=5501, components={"knowledge"})
    assert name == "@tenant/acme"
    (told,) = declared(data).values()
    assert told == ("tenant", "acme", {"port": 5501, "components": {"knowledge"}, "on": "@local"}, {})
    assert data["pgberth_account"] == "svc"


def test_a_tenant_of_another_machine_is_reached_over_ssh_the_machines_way() -> None:
    there = machine("db1", ssh_user="ada", ssh_port=2222, sudo=True)
    name, data = tenant("acme", on=there, port=5501)
    assert name == "@tenant-ssh/acme"
    assert {key: value for key, value in data.items() if key.startswith(("ssh_", "_sudo"))} == {
        "ssh_hostname": "db1",
        "ssh_user": "ada",
        "ssh_port": 2222,
        "ssh_strict_host_key_checking": "yes",
        "_sudo": True,
    }


@pytest.mark.parametrize("on", [None, "db1", 5, ["db1"]])
def test_a_tenant_of_no_known_machine_sends_nobody_looking_for_it_before_it_is_refused(on: Any) -> None:
    name, _ = tenant("acme", on=on, port=5501)
    assert name == "@tenant/acme"


def test_this_machine_is_not_reached_over_ssh() -> None:
    _, data = tenant("acme", on=machine("@local"), port=5501)
    assert not [key for key in data if key.startswith(("ssh_", "_sudo"))]


def test_a_line_knows_its_file_and_number() -> None:
    (first,) = declared(tenant("acme", on=machine("@local"))[1])
    (second,) = declared(tenant("acme", on=machine("@local"))[1])
    assert "inventory/test_declare.py:" in first
    assert "inventory/test_declare.py:" in second
    assert first != second
    assert machine("@local").where.startswith("inventory/test_declare.py:")


def test_one_name_made_twice_by_a_loop_is_two_lines() -> None:
    made = [tenant("acme", on=machine("@local"), port=port)[1] for port in (5501, 5502)]
    assert len({key for data in made for key in declared(data)}) == 2


def test_a_name_of_any_kind_makes_a_line_so_that_load_can_refuse_it() -> None:
    for name in (5, None, "", "a b", ["x"]):
        host, data = tenant(name, on=machine("@local"))
        assert isinstance(host, str)
        assert [told[1] for told in declared(data).values()] == [name]


def test_a_tenant_without_a_machine_makes_a_line_so_that_load_can_refuse_it() -> None:
    _, data = tenant("acme", port=5501)
    assert [told[2]["on"] for told in declared(data).values()] == [None]


def test_nothing_an_inventory_imports_looks_like_a_group_of_hosts() -> None:
    # pyinfra takes every list and tuple at an inventory's top level for hosts.
    assert not isinstance(ALL, list | tuple)
    assert set(COMPONENTS) == ALL
    assert not isinstance(machine("@local"), list | tuple)
    assert not isinstance(Image(), list | tuple)
    assert isinstance(machine("@local"), MachineLine)
