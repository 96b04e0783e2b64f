"""The path in a URL, as real clients on a real server take it: psql, psycopg and Go's lib/pq."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from pgberth.model.url import with_search_path
from tests.postgres import Database

GOCODE = Path("/usr/share/gocode")  # Debian's place for Go libraries
PASSWORD = "a@b:c/d?e&f#g%h i+j'k"
QUESTIONS = ("SHOW search_path", "SELECT current_schema()::text", "SELECT '[1,2]'::vector::text", "SHOW geqo")

Client = Callable[[str], list[str]]


def psql(url: str) -> list[str]:
    assert shutil.which("psql"), "apt-get install postgresql-client"
    asked = [f"--command={question}" for question in QUESTIONS]
    ran = subprocess.run(["psql", "-XAtq", *asked, url], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def through_psycopg(url: str) -> list[str]:
    with psycopg.connect(url) as session:
        rows = [session.execute(question.encode()).fetchone() for question in QUESTIONS]
    return [row[0] for row in rows if row]


@pytest.fixture(scope="module")
def lib_pq(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A program of Debian's own Go and lib/pq; compiled once, in about ten seconds."""
    if not shutil.which("go") or not (GOCODE / "src/github.com/lib/pq").is_dir():
        pytest.skip("Go's lib/pq is not tried: apt-get install golang-go golang-github-lib-pq-dev")
    place = tmp_path_factory.mktemp("go")
    settings = {"GO111MODULE": "off", "GOPATH": str(GOCODE), "GOCACHE": str(place / "cache"), "CGO_ENABLED": "0"}
    source = Path(__file__).with_name("clients") / "lib_pq.go"
    command = ["go", "build", "-o", str(place / "client"), str(source)]
    subprocess.run(command, env={**os.environ, **settings}, timeout=300, check=True)

    def ask(url: str) -> list[str]:
        ran = subprocess.run(
            [str(place / "client"), *QUESTIONS], input=url, capture_output=True, text=True, timeout=30, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.splitlines()

    return ask


@pytest.fixture
def base(database: Database) -> str:
    """The URL of a database that has the component's schema, for a login with a password full of odd characters."""
    login = sql.Identifier(f"odd_{database.name}")
    with database.server.connect(dbname=database.name) as session:
        session.execute("CREATE SCHEMA memory_plugin; GRANT USAGE ON SCHEMA memory_plugin TO memory_app")
        make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE memory_app")
        session.execute(make.format(login, sql.Literal(PASSWORD)))
    password = quote(PASSWORD, safe="")
    return f"postgresql://odd_{database.name}:{password}@127.0.0.1:{database.server.port}/{database.name}"


# What the URL has before, the dialect, and whether libpq takes the result.
FORMS = [
    ("", "libpq"),
    ("?sslmode=disable", "libpq"),
    ("?options=-cgeqo%3Doff&sslmode=disable", "libpq"),
    ("?sslmode=disable&options=--geqo%3Doff%20", "libpq"),
    ("", "lib_pq"),
    ("?sslmode=disable", "lib_pq"),
    ("?options=-cgeqo%3Doff&sslmode=disable", "lib_pq"),
]


def answers(query: str, path: str = "memory_plugin,public") -> list[str]:
    return [path, "memory_plugin", "[1,2]", "off" if "geqo" in query else "on"]


@pytest.mark.parametrize("query", [query for query, dialect in FORMS if dialect == "libpq"])
@pytest.mark.parametrize("client", [psql, through_psycopg], ids=["psql", "psycopg"])
def test_a_client_of_libpq_lands_in_the_components_schema(client: Client, base: str, query: str) -> None:
    assert client(with_search_path(base + query, "memory_plugin")) == answers(query)


@pytest.mark.parametrize(("query", "dialect"), FORMS)
def test_lib_pq_takes_either_form(lib_pq: Client, base: str, query: str, dialect: str) -> None:
    given = base + query if "sslmode" in query else f"{base}?sslmode=disable{query.replace('?', '&')}"
    made = with_search_path(given, "memory_plugin", dialect="lib_pq" if dialect == "lib_pq" else "libpq")
    assert lib_pq(made) == answers(query)


def test_libpq_refuses_the_form_of_lib_pq(base: str) -> None:
    with pytest.raises(psycopg.ProgrammingError, match='invalid URI query parameter: "search_path"'):
        psycopg.connect(with_search_path(base, "memory_plugin", dialect="lib_pq")).close()


def test_what_is_refused_would_have_gone_wrong(base: str) -> None:
    option = "options=-csearch_path%3Dmemory_plugin%2Cpublic"
    # A second options= takes the first one's place.
    with psycopg.connect(f"{base}?options=-cgeqo%3Doff&{option}") as session:
        assert session.execute("SHOW geqo").fetchone() == ("on",)
    # A fragment becomes part of the path: pgvector's schema is missing, and nobody says so.
    with psycopg.connect(f"{base}?{option}#blue") as session, pytest.raises(psycopg.errors.UndefinedObject):
        session.execute("SELECT '[1,2]'::vector")
    # An option without its argument swallows the next one.
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"{base}?options=-c%20-csearch_path%3Dmemory_plugin").close()
