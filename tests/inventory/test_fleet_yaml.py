"""A fleet in YAML: what is written becomes an inventory's lines, and nothing that YAML could misread gets through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgberth.inventory.declare import DECLARED, PROBLEMS
from pgberth.inventory.fleet_yaml import Groups, groups_from
from pgberth.model.image import Image
from pgberth.model.listen import Listen
from pgberth.model.problems import Refused
from pgberth.model.sidecar import Sidecar

GOOD = """\
machines:
  db1:
    ssh_hostname: 192.0.2.11
  "@local":
rings:
  canary:
    acme:
      on: db1
      port: 5501
      components: [memory_plugin]
  eu:
    globex: {on: "@local", port: 5502, components: {knowledge: 1}}
"""


def declared(groups: Groups) -> dict[str, tuple[str, Any, Any]]:
    """Name -> where it stands, its fields, their places."""
    found = {}
    for hosts in groups.values():
        for _, data in hosts:
            for key, value in data.items():
                if key.startswith(DECLARED):
                    found[value[1]] = (key.removeprefix(DECLARED), value[2], value[3])
    return found


def problems(text: str) -> list[str]:
    """Every fact, however it comes out."""
    try:
        groups = groups_from(text, "prod.yaml")
    except Refused as refused:
        return [problem.fact for problem in refused.problems]
    return [fact for hosts in groups.values() for _, data in hosts for fact, hint in data.get(PROBLEMS, ()) if hint]


def test_machines_are_a_group_and_so_is_each_ring() -> None:
    groups = groups_from(GOOD, "prod.yaml")
    assert {group: [host for host, _ in hosts] for group, hosts in groups.items()} == {
        "machines": ["@machine-ssh/db1", "@local"],
        "canary": ["@tenant-ssh/acme"],
        "eu": ["@tenant/globex"],
    }
    assert problems(GOOD) == []


def test_each_line_and_each_field_knows_where_it_stands() -> None:
    where, fields, places = declared(groups_from(GOOD, "prod.yaml"))["acme"]
    assert where == "prod.yaml:7"
    assert fields == {"on": "db1", "port": 5501, "components": ["memory_plugin"]}
    assert places == {"on": "prod.yaml:8", "port": "prod.yaml:9", "components": "prod.yaml:10"}


def test_a_machine_gets_the_default_account_and_its_own_fields() -> None:
    found = declared(groups_from(GOOD, "prod.yaml"))
    assert found["db1"][1] == {"account": "pgberth", "ssh_hostname": "192.0.2.11"}
    assert found["@local"][1] == {"account": "pgberth"}


def with_tenant(line: str) -> str:
    """A fleet whose one tenant has this line, the ninth, beside those it needs."""
    lines = ["machines:", "  db1:", "rings:", "  canary:", "    acme:", "      on: db1", "      port: 5501"]
    return "\n".join([*lines, "      components: [knowledge]", f"      {line}"]) + "\n"


# A field as written, and what it is in Python.
READ: list[tuple[str, Any]] = [
    ("x: 5501", 5501),
    ("x: 0", 0),
    ("x: -1", -1),
    ("x: true", True),
    ("x: False", False),
    ("x:", None),
    ("x: null", None),
    ("x: text", "text"),
    ("x: NO", "NO"),  # YAML 1.1: False
    ("x: off", "off"),
    ("x: 54:32", "54:32"),  # YAML 1.1: 3272
    ("x: 2026-11-25", "2026-11-25"),
    ('x: "5501"', "5501"),
    ("x: '1e5'", "1e5"),
    ("x: [a, 2]", ["a", 2]),
    ("x: {a: {b: 2}}", {"a": {"b": 2}}),
    ("x: {}", {}),
    ("x: $(id)", "$(id)"),
    ("x: '{{ 7*7 }}'", "{{ 7*7 }}"),
    ("image: {suite: sid, postgres: 17}", Image("sid", 17)),
    ("image: {suite: sid}", Image("sid")),
    ("image: {}", Image()),
    ("image: {archive: server.tar}", Image(archive="server.tar")),
    (
        "image: {name: registry.example/x/postgres, digest: 'sha256:0'}",
        Image(name="registry.example/x/postgres", digest="sha256:0"),
    ),
    ("image: forky", "forky"),
    ("sidecar: {image: plugin, port: 5600}", Sidecar("plugin", 5600)),
    ("listen: {address: 10.0.0.5, name: db1.example}", Listen("10.0.0.5", "db1.example")),
]


@pytest.mark.parametrize(("line", "value"), READ, ids=[line for line, _ in READ])
def test_a_value_is_what_yaml_1_2_reads_and_nothing_is_guessed(line: str, value: Any) -> None:
    text = with_tenant(line)
    found = declared(groups_from(text, "prod.yaml"))["acme"][1][line.partition(":")[0]]
    assert (type(found), found) == (type(value), value)
    assert problems(text) == []


# A field as written, and what the refusal says; each of them of line 9.
REFUSED: list[tuple[str, str]] = [
    ("x: 1e5", "tenant 'acme': x: 1e5 is neither a string nor a plain integer to YAML"),
    ("x: 5501.0", "5501.0 is neither a string nor a plain integer to YAML"),
    ("x: 0x157D", "0x157D is neither a string nor a plain integer to YAML"),
    ("x: 0o12575", "0o12575 is neither a string nor a plain integer to YAML"),
    ("x: 05501", "05501 is neither a string nor a plain integer to YAML"),
    ("x: 5_501", "5_501 is neither a string nor a plain integer to YAML"),
    ("x: +5501", "+5501 is neither a string nor a plain integer to YAML"),
    ("x: 0b11", "0b11 is neither a string nor a plain integer to YAML"),
    ("x: .inf", ".inf is neither a string nor a plain integer to YAML"),
    ("x: .nan", ".nan is neither a string nor a plain integer to YAML"),
    ("x: !!bool nay", "nay is neither a string nor a plain integer to YAML"),
    ("x: !secret acme", "tenant 'acme': x: a tag (!secret)"),
    ("x: !!python/object/apply:os.system [id]", "a tag (tag:yaml.org,2002:python/object/apply:os.system)"),
    ("x: !!binary aGk=", "a tag (tag:yaml.org,2002:binary)"),
    ("x: &a 5", "an anchor (&a)"),
    ("x: &a [*a]", "an anchor (&a)"),
    ("<<: {port: 5502}", "tenant 'acme': << is of YAML 1.1"),
    ("port: 5502", "tenant 'acme': 'port' appears twice: here and prod.yaml:7"),
    ("x: {a: 1, a: 2}", "tenant 'acme': x: 'a' appears twice"),
    ("5: x", "tenant 'acme': 5 is not a string to YAML"),
    ("true: x", "tenant 'acme': true is not a string to YAML"),
    ("? [a]\n      : x", "tenant 'acme': a list or a mapping in place of a name"),
    ("sidecar: {prot: 1}", "tenant 'acme': sidecar: unknown field 'prot' (did you mean 'port'?)"),
    ("image: {suit: sid}", "tenant 'acme': image: unknown field 'suit' (did you mean 'suite'?)"),
]


@pytest.mark.parametrize(("line", "says"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_yaml_could_misread_or_a_fleet_needs_none_of_is_refused_with_its_line(line: str, says: str) -> None:
    (fact,) = problems(with_tenant(line))
    assert fact.startswith("prod.yaml:9: ")
    assert says in fact


# The whole text, and what the refusal says, with its line.
WHOLE: dict[str, tuple[str, list[str]]] = {
    "nothing": ("", ["prod.yaml: it must be `machines:` and `rings:`"]),
    "only a remark": ("# todo\n", ["prod.yaml: it must be `machines:` and `rings:`"]),
    "a list": ("- a\n", ["prod.yaml: it must be"]),
    "no machines": ("rings: {}\n", ["prod.yaml:1: the file: `machines:` is missing"]),
    "no rings": ("machines: {db1: }\n", ["prod.yaml:1: the file: `rings:` is missing"]),
    "no machine at all": ("machines:\nrings:\n", ["prod.yaml: it has no machine"]),
    "an unknown key": (GOOD.replace("rings:", "ringes: {}\nrings:"), ["unknown 'ringes' (did you mean 'rings'?)"]),
    "a key twice": (f"{GOOD}machines: {{}}\n", ["prod.yaml:13: the file: 'machines' appears twice: here and prod.ya"]),
    "a ring twice": (f"{GOOD}  canary:\n", ["prod.yaml:13: rings: 'canary' appears twice: here and prod.yaml:6"]),
    "a tenant twice in a ring": (
        f"{GOOD}    globex: {{}}\n",
        ["prod.yaml:13: ring 'eu': 'globex' appears twice: here and prod.yaml:12"],
    ),
    "a machine twice": (GOOD.replace("rings:", "  db1:\nrings:"), ["prod.yaml:5: machines: 'db1' appears twice"]),
    "a ring that pyinfra means otherwise": (GOOD.replace("eu:", "all:"), ["prod.yaml:11: ring 'all': name must be"]),
    "a ring called machines": (GOOD.replace("eu:", "machines:"), ["ring 'machines': name must be"]),
    "a ring that pyinfra would not see": (GOOD.replace("eu:", "_eu:"), ["ring '_eu': name must be"]),
    "machines as a list": ("machines: [db1]\nrings:\n", ["prod.yaml:1: machines must be name: value, line by line"]),
    "a ring as a list": (GOOD.replace("  eu:", "  us: [acme]\n  eu:"), ["prod.yaml:11: ring 'us' must be name: value"]),
    "a machine as text": (GOOD.replace('"@local":', '"@local": here'), ["prod.yaml:4: machine '@local' must be"]),
    "another version of YAML": (f"%YAML 1.1\n---\n{GOOD}", ["prod.yaml:1: a directive: %YAML 1.1"]),
    "two documents": (f"{GOOD}---\n{GOOD}", ["prod.yaml:13: expected a single document in the stream, but found an"]),
    "a tab": ("machines:\n\tdb1:\n", ["prod.yaml:2: ", "'\\t' that cannot start any token"]),
    "an open bracket": (GOOD.replace("[memory_plugin]", "[memory_plugin"), ["prod.yaml:1", "expected ',' or ']'"]),
    "an alias of nothing": (GOOD.replace("5501", "*port"), ["prod.yaml:9: found undefined alias 'port'"]),
    "a control character": (GOOD.replace("5501", "\x07"), ["prod.yaml:9: special characters are not allowed"]),
    "nothing but brackets": ("[" * 20_000, ["prod.yaml"]),
}


@pytest.mark.parametrize("what", WHOLE)
def test_a_file_of_another_form_is_refused_with_the_line(what: str) -> None:
    text, desired = WHOLE[what]
    facts = problems(text)
    assert facts
    for part in desired:
        assert any(part in fact for fact in facts), facts


def test_every_problem_is_found_and_each_once() -> None:
    text = GOOD.replace("5501", "1e5").replace("5502", "0x1") + "  us:\n    x: !y z\n  2:\n"
    facts = problems(text)
    assert len(facts) == len(set(facts))
    assert sorted(fact.partition(": ")[0] for fact in facts) == [f"prod.yaml:{line}" for line in (12, 14, 15, 9)]


@given(st.text() | st.text(alphabet="ab:-[]{}&*!%|>'\"\n #,?~1.").map(lambda text: f"machines:\n {text}"))
def test_no_text_of_any_kind_ends_in_anything_but_groups_or_a_refusal(text: str) -> None:
    try:
        assert groups_from(text, "prod.yaml")["machines"] is not None
    except Refused as refused:
        assert refused.problems
