"""Connection URLs, as libpq itself reads them."""

from __future__ import annotations

from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pgberth.model.problems import Refused
from pgberth.model.secret import Secret
from pgberth.model.tenant import COMPONENTS
from pgberth.model.url import Dialect, component_url, schemas, search_path, tenant_url, variable, with_search_path
from tests.model.table import BAD, GOOD, REFUSES, Bad, Good, case
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
    ("component", "desired"),
    [
        (None, "DATABASE_URL"),
        ("control_plane", "CONTROL_PLANE_DATABASE_URL"),
        ("memory_plugin", "MEMORY_PLUGIN_DATABASE_URL"),
        ("knowledge", "KNOWLEDGE_DATABASE_URL"),
    ],
)
def test_each_url_has_a_variable_of_its_own(component: str | None, desired: str) -> None:
    assert variable(component) == desired


@pytest.mark.parametrize("row", GOOD, ids=case)
@pytest.mark.parametrize("dialect", ["libpq", "lib_pq"])
def test_a_url_takes_the_path_and_keeps_every_other_byte(row: Good, dialect: Dialect) -> None:
    desired = getattr(row, dialect)
    if desired == REFUSES:
        with pytest.raises(Refused, match="fragment"):
            with_search_path(row.given, "memory_plugin", dialect=dialect)
    else:
        assert with_search_path(row.given, "memory_plugin", dialect=dialect) == desired


@pytest.mark.parametrize("row", [row for row in GOOD if row.libpq != REFUSES], ids=case)
def test_a_url_that_has_the_path_comes_back_as_it_is(row: Good) -> None:
    assert with_search_path(row.libpq, "memory_plugin") == row.libpq
    assert with_search_path(row.lib_pq, "memory_plugin", dialect="lib_pq") == row.lib_pq


@pytest.mark.parametrize("row", BAD, ids=case)
@pytest.mark.parametrize("dialect", ["libpq", "lib_pq"])
def test_a_bad_url_is_refused_by_name_without_its_password(row: Bad, dialect: Dialect) -> None:
    with pytest.raises(Refused) as refused:
        with_search_path(row.given, "memory_plugin", dialect=dialect, name="OTHER_URL")
    said = str(refused.value)
    assert said.startswith("OTHER_URL: ")
    assert "\nHINT: " in said
    assert [word for word in row.says if word not in said] == []
    assert "hunter2" not in said


_PIECES = st.text(st.sampled_from("aZ0-_.~:@/?#&=%[],+ \\'\"é"), max_size=12)
_OPTIONS = st.lists(st.sampled_from(["-cgeqo=off", "-c jit=on", "--a-b=c\\ d"]), min_size=1).map(" ".join)


@given(
    _PIECES, st.sampled_from(["", "h", "h:1", "[::1]:2", "a,b:3"]), _PIECES, st.none() | _PIECES, st.none() | _OPTIONS
)
def test_libpq_reads_the_same_url_and_the_path(
    password: str, hosts: str, database: str, application: str | None, options: str | None
) -> None:
    parameters = {"application_name": application, "options": options}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value is not None)
    url = f"postgresql://u:{quote(password, safe='')}@{hosts}/{quote(database, safe='')}" + (query and f"?{query}")
    path = "-csearch_path=memory_plugin,public"
    before, after = conninfo_to_dict(url), conninfo_to_dict(with_search_path(url, "memory_plugin"))
    assert after == {**before, "options": f"{options} {path}" if options else path}


@given(st.text(st.sampled_from("aZ0:@/?#&=%[], +\\"), max_size=20))
def test_libpq_reads_whatever_is_not_refused_as_it_did_before(rest: str) -> None:
    url = f"postgresql://{rest}"
    try:
        made = with_search_path(url, "memory_plugin")
        before = conninfo_to_dict(url)
    except (Refused, psycopg.ProgrammingError, UnicodeDecodeError):
        return  # ours to refuse, libpq's own, or bytes that psycopg cannot show
    assert conninfo_to_dict(made) == {**before, "options": "-csearch_path=memory_plugin,public"}


def test_a_components_own_url_is_left_as_it_is_whatever_it_says() -> None:
    for own in ("postgresql://x/y?search_path=knowledge", "mysql://", " \n", "host=db password='a b'"):
        given = {"MEMORY_PLUGIN_DATABASE_URL": own, "DATABASE_URL": "postgresql://h/d"}
        assert component_url("memory_plugin", given) == own


def test_an_empty_own_url_counts_as_none() -> None:
    given = {"MEMORY_PLUGIN_DATABASE_URL": "", "DATABASE_URL": "postgresql://h/d"}
    assert (
        component_url("memory_plugin", given, dialect="lib_pq") == "postgresql://h/d?search_path=memory_plugin,public"
    )


@pytest.mark.parametrize("nothing", [{}, {"DATABASE_URL": ""}, {"KNOWLEDGE_DATABASE_URL": "postgresql://h/d"}])
def test_a_component_without_any_url_is_refused_with_both_names(nothing: dict[str, str]) -> None:
    with pytest.raises(Refused, match="neither MEMORY_PLUGIN_DATABASE_URL nor DATABASE_URL is set"):
        component_url("memory_plugin", nothing)


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        ("a,b", ("a", "b")),
        (' A , "B""c" ', ("a", 'B"c')),
        ('"$user", public', ("$user", "public")),
        ("", None),
        ("a,", None),
        (",a", None),
        ("a b", None),
        ('"a', None),
        ('""', ("",)),
    ],
)
def test_a_search_path_is_read_as_the_server_reads_it(
    text: str, desired: tuple[str, ...] | None, postgres18: Server
) -> None:
    assert schemas(text) == desired
    with postgres18.connect() as session, session.transaction(force_rollback=True):
        try:
            session.execute("SELECT set_config('search_path', %s, true)", [text])
            taken = True
        except psycopg.errors.InvalidParameterValue:
            taken = False
    assert taken == (desired is not None or text == "")
