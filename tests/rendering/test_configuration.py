"""The server's configuration files: who is let in, in which order, and values that cannot break out of their quotes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pgberth.model.profile import COMMON, PROFILES
from pgberth.model.resources import TEMPLATES
from pgberth.model.roles import SUPERUSER
from pgberth.model.tenant import Tenant
from pgberth.rendering.configuration import (
    HBA,
    hba_name,
    hba_names,
    pg_hba_conf,
    postgresql_conf,
    reload_files,
    restart_files,
)
from pgberth.rendering.environment import environment
from tests.postgres import NOBODY, Server
from tests.sample import ACME

OPEN = replace(ACME, superuser_tcp=True)
LOGINS = "memory_app_a,memory_app_b,memory_suite,memory_migrator,memory_monitor"

GOLDEN = f"""\
# Written by pgberth; edits are undone by the next deploy.
local all postgres peer
local memory memory_monitor peer map=inside
local memory_rehearsal,memory_fresh memory_migrator peer map=inside
host memory {LOGINS} all scram-sha-256
host memory_rehearsal,memory_fresh memory_migrator all scram-sha-256
host all postgres all reject
host replication all all reject
host all all all reject
local all all reject
"""


def rules(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def judged(text: str, way: str, database: str, user: str) -> str:
    """What the first matching line says, as the server reads them."""
    for kind, databases, users, *rest in rules(text):
        if kind == way and _matches(databases, database) and _matches(users, user):
            return rest[-1]
    return "no line"


def _matches(listed: str, name: str) -> bool:
    # `all` is every database but the pseudo-database of replication.
    return name in listed.split(",") or (listed == "all" and name != "replication")


def test_the_file_is_this_to_the_letter() -> None:
    assert pg_hba_conf(ACME) == GOLDEN


def test_only_the_superusers_own_line_differs_where_a_tenant_lets_it_in_over_tcp() -> None:
    assert [rule for rule in rules(pg_hba_conf(OPEN)) if rule not in rules(GOLDEN)] == [
        ["host", "all", "postgres", "all", "scram-sha-256"]
    ]


@pytest.mark.parametrize("tenant", [ACME, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize(
    ("way", "database", "user", "desired"),
    [
        ("local", "memory", "postgres", "peer"),
        ("local", "postgres", "postgres", "peer"),
        ("local", "memory", "memory_app_a", "reject"),
        ("local", "memory", "anybody", "reject"),
        ("host", "memory", "memory_app_a", "scram-sha-256"),
        ("host", "memory", "memory_app_b", "scram-sha-256"),
        ("host", "memory", "memory_migrator", "scram-sha-256"),
        ("host", "memory", "memory_monitor", "scram-sha-256"),
        ("host", "memory_rehearsal", "memory_migrator", "scram-sha-256"),
        ("host", "memory_fresh", "memory_migrator", "scram-sha-256"),
        ("host", "memory_fresh", "memory_app_a", "reject"),
        ("host", "memory_rehearsal", "memory_app_a", "reject"),
        ("host", "memory", "memory_owner", "reject"),
        ("host", "memory", "memory_app", "reject"),
        ("host", "memory", "anybody", "reject"),
        ("host", "postgres", "memory_app_a", "reject"),
        ("host", "template1", "memory_migrator", "reject"),
        ("host", "replication", "memory_app_a", "reject"),
        ("host", "replication", "postgres", "reject"),
        ("local", "replication", "postgres", "no line"),  # the server refuses what no line matches
    ],
)
def test_each_role_gets_in_by_its_own_door_and_no_other(
    tenant: Tenant, way: str, database: str, user: str, desired: str
) -> None:
    assert judged(pg_hba_conf(tenant), way, database, user) == desired


@pytest.mark.parametrize("database", ["memory", "postgres", "template1", "anything"])
def test_the_superuser_is_refused_over_tcp_unless_the_tenant_says_otherwise(database: str) -> None:
    assert judged(pg_hba_conf(ACME), "host", database, "postgres") == "reject"
    assert judged(pg_hba_conf(OPEN), "host", database, "postgres") == "scram-sha-256"


def test_the_refusal_of_the_superuser_stands_before_any_line_that_would_let_it_in() -> None:
    lines = rules(pg_hba_conf(ACME))
    refused = lines.index(["host", "all", SUPERUSER, "all", "reject"])
    assert not [rule for rule in lines[:refused] if rule[0] == "host" and _matches(rule[2], SUPERUSER)]


@pytest.mark.parametrize("text", [pg_hba_conf(ACME), pg_hba_conf(OPEN)])
def test_nobody_is_trusted_and_the_last_word_to_everybody_is_no(text: str) -> None:
    assert {rule[-1] for rule in rules(text)} == {"peer", "map=inside", "scram-sha-256", "reject"}
    assert rules(text)[-2:] == [["host", "all", "all", "all", "reject"], ["local", "all", "all", "reject"]]
    assert "include" not in text
    assert "@" not in text


def test_the_file_ends_with_a_newline_so_that_its_last_line_counts() -> None:
    assert pg_hba_conf(ACME).endswith("\n")


HOSTILE = [
    "plain",
    "it's",
    "''",
    "back\\slash",
    "\\'; fsync = off #",
    "x' y = 'z",
    "%m [%p] ",
    "# no comment",
    " ",
    "☃",
]


@pytest.mark.parametrize("value", [*HOSTILE, "new\nline\tand tab"])
def test_a_setting_comes_back_from_the_server_as_it_was(postgres18: Server, value: str) -> None:
    assert read_back(postgres18, value) == (value, "reached")


def read_back(server: Server, value: str) -> tuple[str, str]:
    """The setting as the server reads it from our file, and the one on the line after it, which is "reached"."""
    path = server.home / "postgresql-under-test.conf"
    path.write_text(postgresql_conf({"log_line_prefix": value, "cluster_name": "reached"}))
    path.chmod(0o644)
    return in_force(server, path, "log_line_prefix"), in_force(server, path, "cluster_name")


def in_force(server: Server, path: Path, name: str) -> str:
    """The setting with this configuration file, by the server's own program, which refuses to be root."""
    identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
    asked = [str(server.bin / "postgres"), "-D", str(server.home / "data"), "-c", f"config_file={path}", "-C", name]
    done = subprocess.run(["setpriv", *identity, "--", *asked], capture_output=True, text=True, cwd="/", check=True)
    return done.stdout.removesuffix("\n")


def test_the_settings_of_a_profile_are_the_common_ones_and_its_own() -> None:
    small = PROFILES["small"]
    text = restart_files(ACME)["postgresql.conf"]
    for name, value in {**COMMON, **small.settings}.items():
        assert f"{name} = '{value}'\n" in text
    assert "'%m [%p] %q%a '" in text


def test_what_needs_a_new_container_and_what_a_reload_takes_up_are_kept_apart() -> None:
    assert set(restart_files(ACME)) == {"guard.sh", "postgresql.conf"}
    assert set(reload_files(ACME)) == {"pg_hba.conf", "pg_hba_tls.conf", "pg_ident.conf"}
    assert restart_files(ACME) == restart_files(OPEN)
    assert reload_files(ACME) != reload_files(OPEN)


def test_the_guard_is_the_one_of_the_templates() -> None:
    assert restart_files(ACME)["guard.sh"] == (TEMPLATES / "entrypoint/guard.sh").read_text()
    assert subprocess.run(["sh", "-n"], input=restart_files(ACME)["guard.sh"], text=True, check=False).returncode == 0


@pytest.mark.parametrize("text", ["{{ tenant }}", "{{ 'a' | name | upper }}", "{{ ['a'] }}"])
def test_what_is_not_typed_for_pg_hba_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not typed as pg_hba\.conf: name or names must come last in it"):
        environment(TEMPLATES, HBA).from_string(text).render(tenant="acme")


@pytest.mark.parametrize(
    "name", ["all", "a b", 'a"b', "a,b", "a\nhost all all all trust", "@file", "+group", "", 5, None]
)
def test_nothing_but_a_plain_name_gets_into_pg_hba(name: object) -> None:
    with pytest.raises(ValueError, match="is not a plain name"):
        hba_name(name)
    with pytest.raises(ValueError, match="is not a plain name"):
        hba_names(["memory", name])
