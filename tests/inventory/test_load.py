"""An inventory's lines become a fleet, or every problem of every line is reported at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgberth.inventory.load import Fleet, InventoryLine, load, next_free
from pgberth.model.image import Image
from pgberth.model.listen import Listen
from pgberth.model.problems import Problem, Refused
from pgberth.model.profile import PROFILES
from pgberth.model.sidecar import Sidecar
from pgberth.model.tenant import COMPONENTS, HEAD

MACHINE = InventoryLine("machine", "@local", "inventories/prod.py:3", {"account": "pgberth"})


def tenant(
    name: Any = "acme", *, line: int = 8, defaults: Any = (), rings: tuple[str, ...] = (), **fields: Any
) -> InventoryLine:
    """A tenant's line that is well but for what the test writes into it; None takes a field away."""
    body = {"on": "@local", "port": 5500 + line, "components": {"memory_plugin"}, **fields}
    kept = {field: value for field, value in body.items() if value is not None}
    return InventoryLine("tenant", name, f"inventories/prod.py:{line}", kept, rings, defaults)


def problems(*lines: InventoryLine) -> list[Problem]:
    with pytest.raises(Refused) as refused:
        load([MACHINE, *lines])
    return list(refused.value.problems)


def facts(*lines: InventoryLine) -> list[str]:
    return [problem.fact for problem in problems(*lines)]


def loaded(*lines: InventoryLine) -> Fleet:
    return load([MACHINE, *lines])


def test_a_short_line_gets_every_default() -> None:
    acme = loaded(tenant()).tenants["acme"]
    assert (acme.name, acme.port, acme.machine.name, acme.machine.account) == ("acme", 5508, "@local", "pgberth")
    assert acme.components == {"memory_plugin": HEAD}
    assert (acme.profile_name, acme.image, acme.rings) == ("small", Image(), ())
    assert (acme.superuser_tcp, acme.allow_old_pgvector) == (False, False)


def test_what_a_line_says_wins_over_the_defaults() -> None:
    fields: dict[str, Any] = {"image": Image("sid", 17), "superuser_tcp": True, "allow_old_pgvector": True}
    acme = loaded(tenant(rings=("canary",), **fields)).tenants["acme"]
    assert (acme.image, acme.superuser_tcp, acme.allow_old_pgvector) == (Image("sid", 17), True, True)
    assert acme.rings == ("canary",)


GOOD_COMPONENTS: list[tuple[Any, dict[str, int | str]]] = [
    ({"memory_plugin"}, {"memory_plugin": HEAD}),
    (["knowledge", "control_plane"], {"control_plane": HEAD, "knowledge": HEAD}),
    (frozenset(COMPONENTS), dict.fromkeys(COMPONENTS, HEAD)),
    ({"knowledge": 1}, {"knowledge": 1}),
    ({"knowledge": 0, "memory_plugin": "head"}, {"memory_plugin": HEAD, "knowledge": 0}),
]


@pytest.mark.parametrize(("written", "desired"), GOOD_COMPONENTS)
def test_components_come_out_in_the_order_in_which_they_are_applied(
    written: Any, desired: dict[str, int | str]
) -> None:
    acme = loaded(tenant(components=written)).tenants["acme"]
    assert acme.components == desired
    assert acme.ordered_components == tuple(desired)


def test_a_list_says_which_component_comes_first_and_a_set_leaves_it_to_us() -> None:
    listed = loaded(tenant(components=["knowledge", "control_plane"])).tenants["acme"]
    assert (listed.first_component, listed.ordered_components) == ("knowledge", ("control_plane", "knowledge"))
    for _ in range(5):
        unordered = loaded(tenant(components={"knowledge", "memory_plugin", "control_plane"})).tenants["acme"]
        assert unordered.first_component == "control_plane"


def test_a_tenant_may_give_its_components_parameters() -> None:
    acme = loaded(tenant(parameters={"memory_plugin": {"dimension": 768, "note": "text"}})).tenants["acme"]
    assert acme.parameters == {"memory_plugin": {"dimension": 768, "note": "text"}}
    assert loaded(tenant()).tenants["acme"].parameters == {}


def test_the_tenants_of_a_machine_are_known() -> None:
    fleet = loaded(tenant(), tenant("globex", line=9))
    assert [found.name for found in fleet.tenants_on("@local")] == ["acme", "globex"]
    assert fleet.tenants_on("elsewhere") == []


# Field, value, and what the refusal says. Each is the only thing wrong with its line.
BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("secrets", "secret://env/X", "secrets must be a dict of superuser, migrator, app, monitor -> secret://env/NAME"),
    ("secrets", {"app": "hunter2"}, "secrets must be a dict"),
    ("secrets", {"owner": "secret://env/X"}, "secrets must be a dict"),
    ("port", 80, "port 80 must be a whole number from 1024 to 65535"),
    ("port", 0, "port 0 must be"),
    ("port", 65536, "port 65536 must be"),
    ("port", "5432", "port '5432' must be"),
    ("port", True, "port True must be"),
    ("port", 5432.0, "port 5432.0 must be"),
    ("sidecar", "plugin:1", "sidecar 'plugin:1' must be a Sidecar(image=..., port=...)"),
    ("listen", "10.0.0.5", 'must be a Listen("10.0.0.5"): beyond loopback there is TLS, or nothing'),
    ("listen", Listen(), "must be a Listen whose address is one IPv4 address of the machine"),
    ("listen", Listen("db1"), "must be a Listen whose address is one IPv4 address of the machine"),
    ("listen", Listen("10.0.0.5\n"), "must be a Listen whose address is one IPv4 address"),
    ("listen", Listen("::1"), "must be a Listen whose address is one IPv4 address"),
    ("listen", Listen("127.0.0.2"), "one IPv4 address of the machine beyond loopback, where it listens anyway"),
    ("listen", Listen("0.0.0.0"), "one IPv4 address of the machine, not all of them or a group's"),  # noqa: S104
    ("listen", Listen("224.0.0.1"), "one IPv4 address of the machine, not all of them or a group's"),
    ("listen", Listen(7), "must be a Listen whose fields are text"),  # type: ignore[arg-type]
    ("listen", Listen("10.0.0.5", "DB.example"), "must be a Listen whose name is a host's, in small letters, or none"),
    ("listen", Listen("10.0.0.5", "10.0.0.6"), "must be a Listen whose name is a host's"),
    ("listen", Listen("10.0.0.5", "a b"), "must be a Listen whose name is a host's"),
    ("listen", Listen("10.0.0.5", "db,evil"), "must be a Listen whose name is a host's"),
    ("listen", Listen("10.0.0.5", "db\n"), "must be a Listen whose name is a host's"),
    ("listen", Listen("10.0.0.5", certificate="/c"), "must be a Listen with certificate and key, or neither"),
    ("listen", Listen("10.0.0.5", ca="/c"), "must be a Listen with ca= beside certificate= alone"),
    ("listen", Listen("10.0.0.5", certificate="c", key="/k"), "absolute paths, unlike 'c'"),
    ("sidecar", Sidecar(), "must be a Sidecar whose image is an image's name or id"),
    ("sidecar", Sidecar("-v", 5600), "must be a Sidecar whose image is"),
    ("sidecar", Sidecar("a b", 5600), "must be a Sidecar whose image is"),
    ("sidecar", Sidecar("a\n", 5600), "must be a Sidecar whose image is"),
    ("sidecar", Sidecar("plugin:1"), "must be a Sidecar whose port is a whole number from 1024 to 65535"),
    ("sidecar", Sidecar("plugin:1", True), "must be a Sidecar whose port is"),
    ("sidecar", Sidecar("plugin:1", 5600, "no"), "must be a Sidecar whose required is True or False"),  # type: ignore[arg-type]
    ("components", set(), "components set() must be"),
    ("components", [], "components [] must be"),
    ("components", {}, "components {} must be"),
    ("components", "memory_plugin", "components 'memory_plugin' must be"),
    ("components", 5, "components 5 must be"),
    ("components", ["memory_plugn"], "did you mean 'memory_plugin'?"),
    ("components", {"knowlege": 1}, "did you mean 'knowledge'?"),
    ("components", ["public"], "control_plane, memory_plugin, knowledge"),
    ("components", [["memory_plugin"]], "components [['memory_plugin']] must be"),
    ("components", ["knowledge", "knowledge"], "each once"),
    ("components", [None], "components [None] must be"),
    ("components", {"knowledge": "latest"}, "from 0 to 9999 or 'head'"),
    ("components", {"knowledge": -1}, "from 0 to 9999 or 'head'"),
    ("components", {"knowledge": 10_000}, "from 0 to 9999 or 'head'"),
    ("components", {"knowledge": True}, "from 0 to 9999 or 'head'"),
    ("components", {"knowledge": "1"}, "from 0 to 9999 or 'head'"),
    ("components", {"knowledge": None}, "from 0 to 9999 or 'head'"),
    ("parameters", [], "parameters [] must be component -> name -> text or whole number"),
    ("parameters", {"memory_plugn": {}}, "did you mean 'memory_plugin'?"),
    ("parameters", {"memory_plugin": 768}, "must be component -> name"),
    ("parameters", {"memory_plugin": {5: 768}}, "must be component -> name"),
    ("parameters", {"memory_plugin": {"dimension": 768.0}}, "must be component -> name"),
    ("parameters", {"memory_plugin": {"dimension": None}}, "must be component -> name"),
    ("parameters", {"memory_plugin": {"dimension": True}}, "must be component -> name"),
    ("parameters", {None: {}}, "must be component -> name"),
    ("profile", "smal", "did you mean 'small'?"),
    ("profile", "Small", "profile 'Small' must be one of small"),
    ("profile", ["small"], "profile ['small'] must be one of small"),
    ("profile", 1, "profile 1 must be one of small"),
    ("clients", 0, "clients 0 must be a whole number from 1"),
    ("clients", "20", "clients '20' must be a whole number from 1"),
    ("clients", True, "clients True must be"),
    ("plugin_pool", -1, "plugin_pool -1 must be a whole number from 0"),
    ("plugin_pool", 2.0, "plugin_pool 2.0 must be"),
    ("image", "forky", "image 'forky' must be an Image"),
    ("image", Image(suite="$(id)"), "suite"),
    ("image", Image(postgres=9), "major version"),
    ("superuser_tcp", "yes", "superuser_tcp 'yes' must be True or False"),
    ("superuser_tcp", 1, "superuser_tcp 1 must be True or False"),
    ("allow_old_pgvector", "false", "allow_old_pgvector 'false' must be True or False"),
    ("on", "elsewhere", "on: 'elsewhere' is not a machine of this inventory"),
    ("on", ["@local"], "on: ['@local'] is not a machine of this inventory"),
    ("colour", "red", "unknown field 'colour'"),
    ("prot", 5432, "unknown field 'prot' (did you mean 'port'?)"),
    ("component", {"knowledge"}, "unknown field 'component' (did you mean 'components'?)"),
    ("superuser", True, "unknown field 'superuser' (did you mean 'superuser_tcp'?)"),
]


@pytest.mark.parametrize(("field", "value", "says"), BAD_FIELDS, ids=lambda value: str(value)[:40])
def test_a_bad_field_is_refused_naming_line_tenant_field_value_and_rule(field: str, value: Any, says: str) -> None:
    (problem,) = problems(tenant(**{field: value}))
    assert problem.fact.startswith("inventories/prod.py:8: tenant 'acme': ")
    assert field in problem.fact
    assert says in problem.fact
    assert problem.hint
    # "must be" goes on into a rule that reads as one sentence with it.
    assert not any(clash in problem.fact for clash in ("must be is", "must be its", "must be each"))


@pytest.mark.parametrize("field", ["port", "components"])
def test_a_field_without_a_default_must_be_written(field: str) -> None:
    nothing: dict[str, Any] = {field: None}
    assert facts(tenant(**nothing)) == [f"inventories/prod.py:8: tenant 'acme': {field} is missing"]


def test_a_tenant_without_a_machine_is_refused() -> None:
    assert facts(tenant(on=None)) == [
        "inventories/prod.py:8: tenant 'acme': on: None is not a machine of this inventory"
    ]


BAD_NAMES = ["", "Acme", "acme\n", 'x" SUPERUSER; --', "$(id)", "x" * 64, 5, None, ["a"]]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_naming_its_line(name: Any) -> None:
    (problem,) = problems(tenant(name))
    assert problem.fact.startswith(f"inventories/prod.py:8: tenant {name!r}: name must be ")
    assert "must be is" not in problem.fact


def test_a_reserved_name_is_refused_in_other_words_than_a_misspelt_one() -> None:
    assert facts(tenant("postgres")) == [
        "inventories/prod.py:8: tenant 'postgres': this name is reserved; choose another"
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (InventoryLine("machine", "-oProxyCommand=id", "x.py:1", {"account": "pgberth"}), "a host name or address"),
        (
            InventoryLine("machine", "db1", "x.py:1", {"account": "pgberth", "ssh_port": "22"}),
            "a whole number from 1 to 65535",
        ),
        (InventoryLine("machine", "db1", "x.py:1", {"account": "pgberth", "ssh_user": "-l"}), "not starting with -"),
        (InventoryLine("machine", "db1", "x.py:1", {"account": "pgberth", "sudo": "yes"}), "True or False"),
        (InventoryLine("machine", ["@local"], "x.py:1", {"account": "pgberth"}), "name must be '@local'"),
        (InventoryLine("machine", "@local", "x.py:1", {"account": "root"}), "account 'root'"),
        (InventoryLine("machine", "@local", "x.py:1", {"account": "a;id"}), "account 'a;id' must be"),
        (InventoryLine("machine", "@local", "x.py:1", {"account": None}), "account None must be"),
        (InventoryLine("machine", "@local", "x.py:1", {}), "account is missing"),
        (InventoryLine("machine", "@local", "x.py:1", {"account": "a", "acount": "b"}), "did you mean 'account'?"),
    ],
)
def test_a_bad_machine_is_refused_naming_its_line(line: InventoryLine, says: str) -> None:
    with pytest.raises(Refused) as refused:
        load([line])
    (problem,) = refused.value.problems
    assert problem.fact.startswith(f"x.py:1: machine {line.name!r}: ")
    assert says in problem.fact


def test_all_problems_of_all_lines_are_told_at_once() -> None:
    bad = [
        tenant("Acme", line=4),
        tenant("globex", line=5, port="5432", profile="huge"),
        tenant("initech", line=6, colour="red"),
        tenant("initech", line=7),
        tenant("hooli", line=9, on="elsewhere", components=()),
    ]
    told = facts(*bad)
    assert len(told) == 7
    for place in (4, 5, 6, 7, 9):
        assert any(f"prod.py:{place}" in fact for fact in told), place


def test_a_tenant_that_stands_twice_is_refused_naming_both_lines() -> None:
    told = facts(tenant(line=8), tenant(line=12))
    assert "tenant 'acme' is declared twice: inventories/prod.py:8 and inventories/prod.py:12" in told


def test_a_machine_that_stands_twice_is_refused_naming_both_lines() -> None:
    again = InventoryLine("machine", "@local", "inventories/prod.py:4", {"account": "other"})
    assert facts(again) == ["machine '@local' is declared twice: inventories/prod.py:3 and inventories/prod.py:4"]


def test_a_tenant_with_a_machines_name_is_refused_since_one_would_replace_the_other() -> None:
    db1 = InventoryLine("machine", "db1", "inventories/prod.py:4", {"account": "pgberth"})
    (told,) = facts(db1, tenant("db1", on="db1"))
    assert told.startswith("inventories/prod.py:8: tenant 'db1': a machine of this inventory has this name")


def test_tenants_of_two_machines_may_have_one_port() -> None:
    db1 = InventoryLine("machine", "db1", "inventories/prod.py:4", {"account": "pgberth"})
    found = loaded(db1, tenant(port=5500), tenant("globex", line=9, on="db1", port=5500))
    assert {name: found.tenants[name].machine.name for name in found.tenants} == {"acme": "@local", "globex": "db1"}


MACHINE_FIELDS: dict[str, tuple[list[Any], list[Any]]] = {
    "ssh_hostname": (
        ["db1", "db1.example.net", "192.0.2.7", "2001:db8::7"],
        ["", "-oX", "a b", "a;id", "db1\n", 5, None],
    ),
    "ssh_port": ([1, 22, 65535], [0, 65536, "22", True, 22.0, None]),
    "ssh_user": (["root", "ada"], ["", "-l", "a\nb", 5, None]),
    "ssh_key": (["~/.ssh/id", "/etc/key"], ["", "-i", 5, None]),
    "ssh_known_hosts_file": (["/etc/ssh/known_hosts"], ["", "-f", 5]),
    "sudo": ([True, False], ["yes", 1, None]),
}


@pytest.mark.parametrize("field", MACHINE_FIELDS)
def test_each_way_to_a_machine_is_taken_or_refused_by_its_rule(field: str) -> None:
    good, bad = MACHINE_FIELDS[field]
    for value in good:
        assert load([InventoryLine("machine", "db1", "x.py:1", {"account": "pgberth", field: value})]).machines
    for value in bad:
        with pytest.raises(Refused) as refused:
            load([InventoryLine("machine", "db1", "x.py:1", {"account": "pgberth", field: value})])
        (problem,) = refused.value.problems
        assert problem.fact.startswith(f"x.py:1: machine 'db1': {field} {value!r} must be ")


@pytest.mark.parametrize("name", ["db1", "db1.example.net", "192.0.2.7", "2001:db8::7", "DB1"])
def test_a_host_name_or_address_is_a_machine(name: str) -> None:
    assert load([InventoryLine("machine", name, "x.py:1", {"account": "pgberth"})]).machines[name].name == name


@pytest.mark.parametrize(
    "name", ["", "-oProxyCommand=id", "a b", "a;id", "$(id)", "db1\n", "@tenant/x", "@docker/x", 5]
)
def test_anything_else_is_none(name: Any) -> None:
    with pytest.raises(Refused, match="name must be '@local', or a host name or address"):
        load([InventoryLine("machine", name, "x.py:1", {"account": "pgberth"})])


def test_a_port_that_two_tenants_ask_for_is_refused_naming_both() -> None:
    told = facts(tenant(line=8, port=5500), tenant("globex", line=9, port=5500), tenant("initech", line=10))
    assert told == [
        "port 5500 on @local is used by 'acme' (inventories/prod.py:8) and 'globex' (inventories/prod.py:9)"
    ]


def test_a_sidecars_port_is_nobody_elses() -> None:
    sidecar = Sidecar("plugin:1", 5500)
    assert facts(tenant(line=8, port=5500, sidecar=sidecar)) == [
        "port 5500 on @local is used by 'acme' (inventories/prod.py:8)"
        " and the sidecar of 'acme' (inventories/prod.py:8)"
    ]
    assert len(facts(tenant(sidecar=sidecar), tenant("globex", line=9, sidecar=sidecar))) == 1


@pytest.mark.parametrize("components", [{"knowledge"}, {"memory_plugin": 0}])
def test_a_sidecar_needs_the_tables_it_serves(components: Any) -> None:
    (told,) = facts(tenant(components=components, sidecar=Sidecar("plugin:1", 5600)))
    assert told.endswith("tenant 'acme': sidecar needs the tables of memory_plugin among its components")


def test_a_tenant_has_no_sidecar_unless_it_is_given_one() -> None:
    sidecar = Sidecar("sha256:" + "ab" * 32, 5600, True)
    fleet = loaded(tenant(), tenant("globex", line=9, sidecar=sidecar))
    assert (fleet.tenants["acme"].sidecar, fleet.tenants["globex"].sidecar) == (None, sidecar)


def test_connections_that_do_not_add_up_are_refused_with_every_term() -> None:
    (problem,) = problems(tenant(clients=60, plugin_pool=4))
    assert problem.fact == (
        "inventories/prod.py:8: tenant 'acme': profile small has 142 connections, and these need more: 60 clients + 4"
        " memory plugin + 1 proof of login + 65 the same again during a rotation + 12 smoke suite + 6 migrator"
        " + 3 monitor + 3 superuser + 64 not logged in yet = 218"
    )
    assert "larger profile" in problem.hint
    assert facts(tenant(plugin_pool=60)) and facts(tenant(defaults=(("canary", {"clients": 60}),)))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_has_the_connections_that_it_promises(profile: str) -> None:
    acme = loaded(tenant(profile=profile)).tenants["acme"]
    assert acme.connections.clients == PROFILES[profile].clients
    assert acme.connections.total <= acme.profile.max_connections


def test_other_numbers_of_connections_are_taken_where_they_add_up() -> None:
    acme = loaded(tenant(profile="medium", clients=12, plugin_pool=20)).tenants["acme"]
    assert (acme.connections.clients, acme.connections.plugin_pool, acme.connections.app) == (12, 20, 33)


def test_of_a_port_asked_for_twice_the_next_free_one_is_told() -> None:
    told = problems(
        tenant(line=8, port=5500), tenant("globex", line=9, port=5500), tenant("initech", line=10, port=5501)
    )
    assert [problem.hint for problem in told] == [
        "give each a different one; the next port that no tenant of @local uses is 5502"
    ]


@pytest.mark.parametrize(
    ("port", "taken", "free"),
    [(5500, {5500}, 5501), (5500, {5501, 5502}, 5503), (65535, {1024}, 1025), (65534, {65535}, 1024)],
)
def test_the_next_free_port_is_the_first_after_it_and_from_1024_on_after_the_highest(
    port: int, taken: set[int], free: int
) -> None:
    assert next_free(port, taken) == free


def test_a_field_with_a_line_of_its_own_is_refused_there() -> None:
    fields = {"on": "@local", "port": 80, "components": {"knowledge"}, "colour": "red"}
    places = {"port": "prod.yaml:9", "colour": "prod.yaml:11"}
    told = facts(InventoryLine("tenant", "acme", "prod.yaml:7", fields, places=places))
    assert [fact.partition(": ")[0] for fact in told] == ["prod.yaml:11", "prod.yaml:9"]


def test_a_ring_sets_what_its_tenants_do_not_say() -> None:
    ring = (("canary", {"superuser_tcp": True, "components": ["knowledge"]}),)
    fleet = loaded(tenant(components=None, defaults=ring), tenant("globex", line=9, superuser_tcp=False, defaults=ring))
    assert fleet.tenants["acme"].superuser_tcp is True
    assert fleet.tenants["acme"].components == {"knowledge": HEAD}
    assert fleet.tenants["globex"].superuser_tcp is False
    assert fleet.tenants["globex"].components == {"memory_plugin": HEAD}


def test_of_two_groups_the_later_one_wins() -> None:
    groups = (("all", {"allow_old_pgvector": True, "superuser_tcp": True}), ("canary", {"superuser_tcp": False}))
    acme = loaded(tenant(defaults=groups)).tenants["acme"]
    assert (acme.allow_old_pgvector, acme.superuser_tcp) == (True, False)


def test_what_a_ring_sets_is_judged_like_a_line() -> None:
    told = facts(tenant(defaults=(("canary", {"superuser_tcp": "yes"}),)))
    assert told == ["inventories/prod.py:8: tenant 'acme': superuser_tcp 'yes' must be True or False"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"profil": "small"}, "unknown field 'profil' (did you mean 'profile'?)"),
        ({"port": 5500}, "unknown field 'port'"),
        ({"on": "@local"}, "unknown field 'on'"),
        ({"tenant_defaults": ["small"]}, "unknown field 'tenant_defaults'"),
    ],
)
def test_a_ring_cannot_set_what_only_a_tenant_has_nor_what_nobody_knows(fields: dict[str, Any], says: str) -> None:
    ring = (("canary", fields),)
    (problem,) = problems(tenant(defaults=ring), tenant("globex", line=9, defaults=ring))
    assert problem.fact.startswith("group_data of 'canary': tenant_defaults: ")
    assert says in problem.fact
    assert "profile" in problem.hint


def test_a_refusal_shows_each_fact_with_its_hint() -> None:
    refused = Refused([Problem("acme: no", "look"), Problem("globex: neither")])
    assert str(refused) == "acme: no\nHINT: look\nglobex: neither"
    assert Refused.because("acme: no").problems == (Problem("acme: no"),)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.frozensets(st.text()),
    max_leaves=5,
)


@given(ANYTHING, st.dictionaries(st.sampled_from(["on", "port", "components", "profile", "image", "colour"]), ANYTHING))
def test_no_value_of_any_kind_ends_in_anything_but_a_fleet_or_a_refusal(name: Any, fields: dict[str, Any]) -> None:
    try:
        fleet = load([MACHINE, InventoryLine("tenant", name, "x.py:1", fields)])
    except Refused as refused:
        assert refused.problems
    else:
        assert list(fleet.tenants) == [name]


def test_every_profile_says_what_a_server_and_a_container_need() -> None:
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert {"shared_buffers", "max_connections", "huge_pages", "log_error_verbosity"} <= set(profile.lines())


def test_a_password_written_where_a_reference_belongs_is_refused_and_not_repeated() -> None:
    (told,) = facts(tenant(secrets={"app": "hunter2"}))
    assert "hunter2" not in told


def test_a_tenant_keeps_its_references_as_they_are_written() -> None:
    written = {"app": "secret://env/APP", "migrator": "secret://command/pass show {tenant}"}
    fleet = loaded(tenant(secrets=written), tenant("globex", line=9))
    assert (fleet.tenants["acme"].secrets, fleet.tenants["globex"].secrets) == (written, {})
