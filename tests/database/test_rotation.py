"""What a rotation sends: verifiers and never passwords, and each role as it is to be."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from pgberth.database.rotation import rotate_sql
from pgberth.model.secret import Secret
from pgberth.model.spec_file import SpecFile
from tests.postgres import Server
from tests.sample import ACME, server, state

NEW = Secret("canary-Zq7-new")
SPEC = {"secrets": {"app": "app-v3"}, "app_login": "memory_app_b", "former_login": "memory_app_a"}


def test_a_password_goes_as_its_verifier_alone() -> None:
    text = rotate_sql({"memory_app_b": NEW}).reveal()
    assert NEW.reveal() not in text
    assert 'ALTER ROLE "memory_app_b" LOGIN PASSWORD \'SCRAM-SHA-256$4096:' in text
    assert "pg_terminate_backend" not in text


def test_a_role_without_one_loses_its_login_and_its_sessions() -> None:
    text = rotate_sql({"memory_app_a": None}).reveal()
    assert 'ALTER ROLE "memory_app_a" NOLOGIN PASSWORD NULL;' in text
    assert text.index("COMMIT;") < text.index("pg_terminate_backend")


@pytest.fixture
def role(postgres18: Server) -> Iterator[str]:
    with postgres18.connect() as session:
        session.execute("CREATE ROLE rotated LOGIN")
        yield "rotated"
        session.execute("DROP ROLE rotated")


def test_the_server_takes_the_script_and_the_password_logs_in_until_it_is_taken_away(
    postgres18: Server, role: str
) -> None:
    def run(passwords: dict[str, Secret | None]) -> None:
        # What psql leaves out of the script it sends: its own \\g.
        text = rotate_sql(passwords).reveal().replace("\\g /dev/null", ";")
        with postgres18.connect() as session:
            session.execute(sql.SQL(text))

    way = {"host": "127.0.0.1", "port": str(postgres18.port), "user": role, "dbname": "postgres"}
    run({role: NEW})
    stays = psycopg.connect(**way, password=NEW.reveal())  # type: ignore[arg-type]
    run({role: None})
    with pytest.raises(psycopg.OperationalError):
        stays.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match=r"not permitted to log in|password authentication failed"):
        psycopg.connect(**way, password=NEW.reveal())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "login", "previous", "version"),
    [
        ({}, "memory_app_a", None, 1),
        ({"app_login": "memory_app_b", "secrets": {"app": "app-v2"}}, "memory_app_b", None, 2),
        (SPEC, "memory_app_b", "memory_app_a", 3),
        ({"app_login": "postgres", "former_login": "memory_owner"}, "memory_app_a", None, 1),
        ({"app_login": 7, "former_login": ["memory_app_b"]}, "memory_app_a", None, 1),
        ({"app_login": "memory_app_a", "former_login": "memory_app_a"}, "memory_app_a", None, 1),
    ],
)
def test_the_spec_file_tells_who_the_app_is(
    spec: dict[str, object], login: str, previous: str | None, version: int
) -> None:
    found = SpecFile(spec)
    assert (found.app_login, found.previous_login) == (login, previous)
    assert found.secret_version("app") == version
    assert [role for role, kind in found.password_kinds.items() if kind == "app"] == [login]


@pytest.mark.parametrize(
    ("spec", "found", "wrong"),
    [
        ({}, ["memory_app_a"], []),
        ({}, ["memory_app_a", "memory_app_b"], ["memory_app_b can log in"]),
        ({}, [], ["memory_app_a cannot log in"]),
        (SPEC, ["memory_app_a", "memory_app_b"], []),
        (SPEC, ["memory_app_a"], ["memory_app_b cannot log in"]),
    ],
)
def test_who_may_log_in_is_judged_by_the_spec_file(spec: dict[str, object], found: list[str], wrong: list[str]) -> None:
    parsed = state(ACME, spec=spec, answer=server(app_logins=found)).server
    assert parsed is not None
    assert [f"{finding.object} {finding.problem}" for finding in parsed.access] == wrong
