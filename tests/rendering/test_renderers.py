"""
Every renderer under hostile text, load's rules left out: one token back from the shell's and systemd's own reading, one
value back from the server, one password back from libpq.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pgberth.container.context import TenantContext
from pgberth.container.launch import ContainerLaunch
from pgberth.container.spec import ContainerSpec
from pgberth.container.units import escaped
from pgberth.database.operations import connection_files
from pgberth.model import layout
from pgberth.model.listen import Listen
from pgberth.model.secret import Secret
from pgberth.model.spec_file import SpecFile
from pgberth.model.tenant import Tenant
from pgberth.model.url import passfile_line
from pgberth.rendering.sql import ident, literal
from tests.container.test_units import words
from tests.fake_host import as_sent
from tests.postgres import Server
from tests.rendering.test_configuration import read_back
from tests.sample import ACME, HOME, spec_of
from tests.sampling import often
from tests.test_commands import TEXT

# What one line of a file can hold; load's rules let nothing through that has more.
LINE = st.text(
    st.characters(exclude_characters="\0\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", exclude_categories=["Cs"]),
    min_size=1,
)
SLOW = settings(
    max_examples=often(60, whole=600), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Inventory field -> the container of a tenant where that says it, and what podman gets of it.
FIELDS: dict[str, Callable[[str], tuple[ContainerSpec, str]]] = {
    "name": lambda text: (spec(replace(ACME, name=text)), f"--label={layout.TENANT_LABEL}={text}"),
    "hostname": lambda text: (spec(replace(ACME, name=text)), f"--hostname={text}"),
    "listen": lambda text: (spec(replace(ACME, listen=Listen(text))), f"--publish={text}:5501:5432"),
    "home": lambda text: (
        replace(spec_of(), home=text),
        f"--volume={text}/{layout.etc('acme')}:{layout.ETC_MOUNT}:ro,Z",
    ),
    "bindir": lambda text: (_with_bindir(text), f"--label={layout.BINDIR_LABEL}={text}"),
}


def spec(tenant: Tenant) -> ContainerSpec:
    return replace(spec_of(), tenant=tenant)


def _with_bindir(text: str) -> ContainerSpec:
    made = spec_of()
    return replace(made, image=replace(made.image, bindir=text))


@pytest.mark.parametrize("field", FIELDS)
@SLOW
@given(text=TEXT)
def test_each_field_is_one_argument_of_podman_s(field: str, text: str) -> None:
    made, desired = FIELDS[field](text)
    assert desired in made.arguments()


@pytest.mark.parametrize("field", FIELDS)
@SLOW
@given(text=TEXT)
def test_and_one_token_of_the_command_that_starts_the_container(field: str, text: str) -> None:
    made, desired = FIELDS[field](text)
    sent = as_sent(ContainerLaunch.desired(made).start(TenantContext(ACME)))
    assert desired in sent.words


@SLOW
@given(text=LINE)
def test_a_word_of_a_unit_is_one_word_to_systemd(text: str) -> None:
    line = escaped(text)
    assert "\n" not in line
    assert words(line) == [text]


@SLOW
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_literal_comes_back_from_the_server_as_it_was(postgres18: Server, text: str) -> None:
    with postgres18.connect() as session:
        assert session.execute(f"SELECT {literal(text)}".encode()).fetchone() == (text,)


@SLOW
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15))
def test_an_identifier_is_one_name_to_the_server(postgres18: Server, text: str) -> None:
    with postgres18.connect() as session:
        cursor = session.execute(f"SELECT 1 AS {ident(text)}, 2 AS after".encode())
        assert [column.name for column in cursor.description or ()] == [text, "after"]


@settings(SLOW, max_examples=often(25, whole=250))
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn"])))
def test_a_setting_comes_back_from_the_server_whatever_it_holds(postgres18: Server, text: str) -> None:
    assert read_back(postgres18, text) == (text, "reached")


@SLOW
@given(password=LINE, name=LINE)
def test_what_is_published_gives_back_the_password_and_where_the_server_is(password: str, name: str) -> None:
    host = "".join(letter for letter in name if letter.isascii() and letter.isalnum()) or "db1"
    spec = SpecFile({"port": 5501, "listen": Listen("10.0.0.5", host).published})
    files = connection_files(ACME, spec, HOME, Secret(password))
    for url in dotenv_values(stream=StringIO(files["connection.env"])).values():
        if url is None:  # a line for shells
            continue
        found = conninfo_to_dict(url)
        assert (found["password"], found["host"], found["sslmode"]) == (password, host, "verify-full")
        assert found["sslrootcert"] == f"{HOME}/{layout.root_file('acme', own=True)}"
    assert files["passfile"] == passfile_line(5501, Secret(password), "memory_app_a", host)
    assert _field(files["passfile"]) == password


def _field(line: str) -> str:
    """The password in a passfile's line, as libpq reads it: the fifth field, a backslash taken from each escape."""
    fields, escape = [""], False
    for letter in line.removesuffix("\n"):
        if letter == "\\" and not escape:
            escape = True
        elif letter == ":" and not escape and len(fields) < 5:
            fields.append("")
        else:
            fields[-1] += letter
            escape = False
    return fields[4]
