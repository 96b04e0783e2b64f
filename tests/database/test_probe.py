"""The one query that tells everything of a server: asked of a real one as the product asks, and read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pgberth.container.state import TenantState
from pgberth.database.access import access_sql, access_verify_sql
from pgberth.database.probe import probe_sql
from pgberth.migrations.tenant_run import tenant_probe
from pgberth.model import scram
from pgberth.model.resources import TEMPLATES
from pgberth.model.roles import PASSWORD_KINDS
from pgberth.model.server import AccessFinding
from pgberth.model.server import Server as ParsedServer
from pgberth.model.tenant import COMPONENTS, HEAD
from tests.fake_host import CANARY, password_in
from tests.postgres import Server, running_server
from tests.sample import ACME, observe_output, server, state

ALL_THREE = replace(ACME, components=dict.fromkeys(COMPONENTS, HEAD))


def psql(server: Server, script: str, database: str) -> str:
    """As observe.sh asks: silent, unaligned, tuples only, as the superuser."""
    options = ["-XAtq", "-v", "ON_ERROR_STOP=1", server.conninfo("postgres", database), "-f", "-"]
    command = [str(server.bin / "psql"), *options]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def answer() -> Iterator[str]:
    """What the probe says of a cluster whose access is in order and which has no schema yet."""
    with running_server(18) as cluster:
        verifiers = {role: scram.verifier(password_in(f"{kind}-v1")) for role, kind in PASSWORD_KINDS.items()}
        assert psql(cluster, access_sql(ALL_THREE, verifiers).reveal(), "postgres") == ""
        yield psql(cluster, tenant_probe(ALL_THREE), "memory")


def parsed(answer: str) -> ParsedServer:
    text = observe_output(found=state(answer=whole(answer)))
    found = TenantState.parse(text.splitlines()).server
    assert found is not None
    return found


def whole(answer: str) -> dict[str, Any]:
    return {name: value for line in answer.splitlines() for name, value in json.loads(line).items()}


def test_the_answer_is_a_json_object_on_each_line_and_the_monitor_gives_the_ledger_alone(answer: str) -> None:
    who, facts, findings, of_monitor = map(json.loads, answer.splitlines())
    assert set(who) == {"sessions", "slots"}
    assert set(findings) == {"findings", "unread"}
    assert set(of_monitor) == {"ledger"}
    assert set(whole(answer)) == set(server())
    assert "ledger" not in facts


def test_the_answer_of_a_real_server_is_read(answer: str) -> None:
    found = parsed(answer)
    assert found.version.startswith("18")
    assert found.system_identifier.isdigit()
    assert found.vector == found.vector_available != ""
    assert (found.in_recovery, found.hba_errors, found.access, found.ledger) == (False, (), (), ())
    assert len(found.hba_sha256) == 64


def test_what_is_not_there_is_told_as_findings(answer: str) -> None:
    missing = {(row["component"], row["problem"]) for row in parsed(answer).findings}
    assert {(component, "is missing") for component in COMPONENTS} <= missing


def test_a_stored_password_is_recognised_and_no_verifier_is_told(answer: str) -> None:
    found = parsed(answer)
    for role, kind in PASSWORD_KINDS.items():
        stored = found.verifiers[role]
        assert scram.matches(password_in(f"{kind}-v1"), stored.salt, stored.iterations, stored.digest)
        assert not scram.matches(password_in("another"), stored.salt, stored.iterations, stored.digest)
    assert "SCRAM-SHA-256" not in answer
    assert CANARY not in answer


def test_the_probe_writes_nothing_and_does_not_wait_for_ever() -> None:
    text = tenant_probe(ACME)
    assert next(line for line in text.splitlines() if not line.startswith("--")) == "BEGIN READ ONLY;"
    assert "SET LOCAL statement_timeout = '20s'" in text
    assert "SET LOCAL search_path = pg_catalog, pg_temp" in text
    assert text.rstrip().endswith("COMMIT;")


def test_no_place_in_the_probe_is_left_empty() -> None:
    text = probe_sql(ACME, "SELECT 'the ledger'", "SELECT 'a finding'")
    assert "SELECT 'the ledger'" in text
    assert "SELECT 'a finding'" in text
    assert access_verify_sql(ACME) in text
    template = (TEMPLATES / "postgres/probe.sql.j2").read_text()
    for place in ("access", "ledger", "findings"):
        assert f"\n{{{{ {place} }}}}\n" in template
    assert "{{" not in text
    assert "{%" not in text


def test_a_server_that_is_down_has_nothing_to_tell() -> None:
    assert state(answer=None).server is None


def test_findings_read_as_facts() -> None:
    found = parsed(json.dumps(server(access=[{"kind": "role", "object": "x", "problem": "is missing"}])))
    assert found.access == (AccessFinding("role", "x", "is missing"),)
    assert str(found.access[0]) == "role x is missing"
