"""Connection URLs, as libpq itself reads them."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pgberth.model.secret import Secret
from pgberth.model.tenant import COMPONENTS
from pgberth.model.url import search_path, tenant_url, variable
from tests.postgres import Server

ODD = [
    "plain",
    "p@ss",
    "p:w",
    "p/w",
    "p?w",
    "p&w=x",
    "p#w",
    "p%41w",
    "100%",
    "p w",
    "p+w",
    "it's",
    'do"uble',
    "back\\slash",
    "[::1]",
    "snow☃man",
    "{{ 7 * 7 }}",
    "@127.0.0.1:5432/other?",
]


def test_a_tenants_url_names_its_port_the_app_and_the_database() -> None:
    told = conninfo_to_dict(tenant_url(5501))
    assert told == {"host": "127.0.0.1", "port": "5501", "user": "memory_app_a", "dbname": "memory"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_components_url_puts_its_schema_first_and_pgvectors_second(component: str) -> None:
    url = tenant_url(5501, component)
    assert conninfo_to_dict(url)["options"] == f"-csearch_path={component},public"
    assert url.endswith(f"?options=-csearch_path%3D{component}%2Cpublic")


def test_a_url_without_a_component_leaves_the_search_path_to_the_role() -> None:
    assert "options" not in conninfo_to_dict(tenant_url(5501, passfile="/x"))


@pytest.mark.parametrize("password", ODD)
def test_an_odd_password_comes_back_as_it_was(password: str) -> None:
    told = conninfo_to_dict(tenant_url(5501, "knowledge", password=Secret(password)))
    assert told["password"] == password
    assert (told["host"], told["dbname"]) == ("127.0.0.1", "memory")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_password_comes_back_as_it_was(password: str) -> None:
    assert conninfo_to_dict(tenant_url(5501, password=Secret(password)))["password"] == password


@pytest.mark.parametrize("odd", ["/home/pgberth/passfile", "/home/a b/c", "/x?y=z&q", "/100%/x", "/ü/☃", "/a#b"])
def test_a_passfile_comes_back_as_it_was_and_keeps_the_password_out(odd: str) -> None:
    url = tenant_url(5501, "memory_plugin", passfile=odd)
    told = conninfo_to_dict(url)
    assert told["passfile"] == odd
    assert told["options"] == "-csearch_path=memory_plugin,public"
    assert "password" not in told


def test_the_server_takes_the_path_from_the_url(postgres18: Server) -> None:
    url = tenant_url(postgres18.port, "memory_plugin", password=Secret(postgres18.password))
    with psycopg.connect(url, dbname="postgres") as session:
        assert session.execute("SHOW search_path").fetchone() == ("memory_plugin,public",)


def test_the_path_is_the_components_schema_then_the_extensions() -> None:
    assert search_path("control_plane") == ("control_plane", "public")


@pytest.mark.parametrize(
    ("component", "wanted"),
    [
        (None, "DATABASE_URL"),
        ("control_plane", "CONTROL_PLANE_DATABASE_URL"),
        ("memory_plugin", "MEMORY_PLUGIN_DATABASE_URL"),
        ("knowledge", "KNOWLEDGE_DATABASE_URL"),
    ],
)
def test_each_url_has_a_variable_of_its_own(component: str | None, wanted: str) -> None:
    assert variable(component) == wanted
