"""The checks of configuration, durability and connection files: a table of what can be wrong, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgberth.checks import configuration as checks
from pgberth.checks.context import CheckContext
from pgberth.checks.suite import run
from pgberth.rendering.configuration import reload_files, restart_files
from tests.checks.conftest import Live
from tests.checks.test_container import context
from tests.sample import ACME, files, server, settings, state

FILES = {**reload_files(ACME), **restart_files(ACME)}


def asked(seen: Any = None, **told: Any) -> CheckContext:
    found = seen or state()
    return replace(context(found, server(**told)), files=FILES)


def problems(of: CheckContext) -> dict[str, list[str]]:
    """Red check -> its problems; of those that open no session."""
    found = {check.id: list(check.find(of)) for check in checks.CHECKS if check.id != "durable"}
    return {check: lines for check, lines in found.items() if lines}


def test_a_tenant_in_order_is_green() -> None:
    assert problems(asked()) == {}
    private = dict.fromkeys(("passfile", "connection.env", "secrets/app-v1", "etc/pg_hba.conf"), "600")
    assert problems(asked(state(modes={**private, "etc/guard.sh": "700"}))) == {}


def edited(path: str) -> CheckContext:
    return asked(state(files={**files(), path: "0" * 64}))


def moded(path: str, mode: str) -> CheckContext:
    return asked(state(modes={path: mode}))


STRANGER = {"name": "work_mem", "value": "1", "unit": "GB", "context": "user", "source": "postgresql.conf"}
PLANTED: dict[str, tuple[CheckContext, dict[str, list[str]]]] = {
    "another postgresql.conf": (
        edited("etc/postgresql.conf"),
        {"configuration": ["postgresql.conf is not the wanted one"]},
    ),
    "another guard": (edited("etc/guard.sh"), {"configuration": ["guard.sh is not the wanted one"]}),
    "another pg_ident.conf": (edited("etc/pg_ident.conf"), {"configuration": ["pg_ident.conf is not the wanted one"]}),
    "a guard that cannot be run": (
        moded("etc/guard.sh", "600"),
        {"configuration": ["guard.sh is not the wanted one"]},
    ),
    "a setting that runs and is not in the file": (
        asked(settings=settings(log_statement="all")),
        {"configuration": ["log_statement is all, wanted ddl"]},
    ),
    "a setting too many": (
        asked(settings=[*settings(), {**STRANGER, "name": "track_counts", "value": "off", "unit": ""}]),
        {"configuration": ["track_counts is off, not wanted, and comes from postgresql.conf"]},
    ),
    "a setting of which nothing is told": (
        asked(settings=[row for row in settings() if row["name"] != "jit"]),
        {"configuration": ["jit is not set, wanted off"]},
    ),
    "a line that the server does not understand": (
        asked(config_errors=["postgresql.conf line 2 nonsense: unrecognized configuration parameter"]),
        {"configuration": ["postgresql.conf line 2 nonsense: unrecognized configuration parameter"]},
    ),
    "another passfile": (edited("passfile"), {"connection-files": ["passfile is not the wanted one"]}),
    "no connection.env": (
        asked(state(files={path: found for path, found in files().items() if path != "connection.env"})),
        {"connection-files": ["connection.env is missing"]},
    ),
    "a passfile for everybody": (
        moded("passfile", "644"),
        {"connection-files": ["passfile has mode 0644, wanted 0600"]},
    ),
    "a secret for the group": (
        moded("secrets/app-v1", "640"),
        {"connection-files": ["secrets/app-v1 has mode 0640, wanted 0600"]},
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_each_thing_that_is_wrong_turns_its_own_check_red_in_these_words(what: str) -> None:
    planted, desired = PLANTED[what]
    assert problems(planted) == desired


def test_while_a_change_waits_for_a_new_container_the_running_one_is_not_held_to_it() -> None:
    waiting = replace(asked(settings=settings(work_mem="1MB")), files=reload_files(ACME))
    assert problems(waiting) == {}


def durable(live: Live, **told: Any) -> tuple[str, ...]:
    found = live.context()
    results = run(replace(found, server=replace(found.server, **told)))
    return next(result.problems for result in results if result.id == "durable")


def test_what_makes_commits_durable_is_asked_as_the_app(live: Live) -> None:
    assert durable(live) == ()
    live.sql("ALTER ROLE memory_app_a IN DATABASE memory SET synchronous_commit = off")
    assert durable(live) == ("synchronous_commit is off",)


@pytest.mark.parametrize("where", ["/tmp/data", "/var/lib/postgresql-elsewhere"])
def test_data_beside_the_volume_or_without_checksums_is_not_durable(live: Live, where: str) -> None:
    assert durable(live, data_directory=where) == (f"data_directory {where} is outside the volume",)
    assert durable(live, checksums=False) == ("data checksums are off",)
