"""Names and ports: what is taken, and what is refused with its rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgberth.model import layout, names
from pgberth.model.roles import SECRETS

GOOD_NAMES = ["a", "acme", "demo-two", "a1", "a-1", "a--b", "x" * 31, "root", "pgberth", "memory-two", "postgresql"]

BAD_NAMES: list[object] = [
    "",
    " ",
    "acme ",
    " acme",
    "acme\n",  # `$` would let it pass
    "acme\n\n",
    "\nacme",
    "acme\nglobex",
    "acme\r",
    "acme\0",
    "Acme",
    "ACME",
    "1acme",
    "-acme",
    "acme-",
    "-",
    "a_b",
    "a.b",
    "a/b",
    "../etc",
    "a b",
    "a,b",
    "a:b",
    "a=b",
    'x" SUPERUSER; --',
    "it's",
    "$(id)",
    "`id`",
    "a;id",
    "{{ 7 * 7 }}",
    "%s",
    "snow☃man",
    "café",
    "аcme",  # its first letter is Cyrillic
    "x" * 32,
    "x" * 64,
    "x" * 5000,
    None,
    5,
    True,
    b"acme",
    ["acme"],
    ("acme",),
    {"acme": 1},
]

RESERVED_NAMES = [
    "postgres",
    "template0",
    "template1",
    "public",
    "information-schema",
    "memory",
    "pg-toast",
    "none",
    "user",
    "current-user",
    "session-user",
    "all",
    "local",
    "localhost",
    "canary",
    "production",
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_plain_name_is_taken(name: str) -> None:
    assert names.tenant_name_fault(name) is None


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_any_other_name_is_refused_with_the_rule(name: object) -> None:
    assert names.tenant_name_fault(name) == names.TENANT_RULE


@pytest.mark.parametrize("name", RESERVED_NAMES)
def test_a_word_that_means_something_already_is_refused(name: str) -> None:
    assert names.is_reserved(name)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_no_other_name_is_reserved(name: str) -> None:
    assert not names.is_reserved(name)


@given(st.text())
def test_no_text_but_lower_case_letters_digits_and_dashes_is_ever_taken(name: str) -> None:
    if names.tenant_name_fault(name) is None:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert 1 <= len(name.encode()) <= 31
        assert name[0].isalpha()
        assert name[-1] != "-"


def test_the_longest_name_leaves_room_for_every_suffix() -> None:
    longest = "x" * 31
    made = [
        layout.container(longest),
        layout.init_container(longest),
        layout.volume(longest, 999_999),
        *(layout.secret(kind, 999_999) for kind in SECRETS),
    ]
    assert max(len(name.encode()) for name in made) <= 63


@pytest.mark.parametrize("account", ["pgberth", "svc-memory", "a", "x" * 31])
def test_a_plain_account_is_taken(account: str) -> None:
    assert names.account_fault(account) is None


BAD_ACCOUNTS: list[object] = ["", "Pgberth", "pg berth", "-x", "x-", "pgberth\n", "a;id", "$(id)", "x" * 32, 5, None]


@pytest.mark.parametrize("account", BAD_ACCOUNTS, ids=repr)
def test_any_other_account_is_refused_with_the_rule(account: object) -> None:
    assert names.account_fault(account) == names.TENANT_RULE


def test_root_carries_no_tenants() -> None:
    assert "root" in str(names.account_fault("root"))


@pytest.mark.parametrize("port", [1024, 5432, 5501, 65535])
def test_an_unprivileged_port_is_taken(port: int) -> None:
    assert names.port_fault(port) is None


BAD_PORTS: list[object] = [
    *(0, -1, 1, 80, 1023, 65536, 10**9, True, False, None),
    *("5432", "", "5432 ", 5432.0, 1e9, float("nan"), "54:32", [5432], (5432,), {5432}, b"5432"),
]


@pytest.mark.parametrize("port", BAD_PORTS, ids=repr)
def test_any_other_port_is_refused_with_the_rule(port: object) -> None:
    assert names.port_fault(port) == names.PORT_RULE
