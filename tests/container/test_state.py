"""One observation of a tenant: the output of observe.sh becomes a value, and any other output is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError

from pgberth.container.context import TenantObservation
from pgberth.container.state import TenantState
from pgberth.model.spec_file import SpecFile
from tests.sample import ABSENT, ACME, READY, SYSTEM, container, observe_output, server, spec_file, state

REAL = (Path(__file__).parent / "inspected.json").read_text()  # podman 4.3.1's own words about a running tenant


def parsed(text: str) -> TenantState:
    return TenantState.parse(text.splitlines())


def spoilt(section: str, text: str) -> str:
    """observe.sh's output with one section's text replaced."""
    parts = observe_output().split("\n--- ")
    return "\n--- ".join(f"{section}\n{text}\n" if part.startswith(f"{section}\n") else part for part in parts)


def test_a_tenant_in_order_is_read_whole() -> None:
    assert parsed(observe_output()) == state()


def test_a_real_podmans_answer_is_read() -> None:
    found = parsed(spoilt("container", REAL)).container
    assert found is not None
    assert (found.status, found.running, found.pid > 0, found.exit_code) == ("running", True, True, 0)
    assert found.image == "sha256:4b644deb6126187909a8932942ed0289faa0dc4cab536f62da00c61037737876"
    assert found.labels["pgberth.tenant"] == "acme"
    assert len(found.spec_hash) == 16
    assert found.generation == "1"
    assert [mount["Destination"] for mount in found.mounts] == ["/var/lib/postgresql", "/etc/pgberth"]
    assert (found.read_only, found.privileged) == (True, False)
    assert found.process == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}


def test_a_tenant_that_is_not_there_is_absent_not_unknown() -> None:
    found = parsed(observe_output(found=state(**ABSENT)))
    assert found == state(**ABSENT)
    assert (found.container, found.unknown, found.spec.generation) == (None, "", None)


def test_a_machine_that_was_never_prepared_is_known() -> None:
    assert parsed(observe_output(found=state(machine_profile=None, **ABSENT))).machine_profile is None
    assert parsed(spoilt("machine", READY.to_json()[:50])).machine_profile is None


@pytest.mark.parametrize("status", ["exited", "created", "stopped", "paused", "removing", "dead"])
def test_a_container_in_any_other_state_does_not_run(status: str) -> None:
    down = container(status=status, pid=0, exit_code=137, process={})
    found = parsed(observe_output(found=state(container=down, marker={}, answer=None)))
    assert found.container is not None
    assert (found.container.status, found.container.running, found.container.exit_code) == (status, False, 137)
    assert (found.answer, found.marker) == (None, {})


def test_the_words_of_a_podman_that_cannot_describe_a_container_are_kept() -> None:
    found = parsed(
        observe_output(found=state(container=None, unknown="Error: database is locked", marker={}, answer=None))
    )
    assert found.container is None
    assert found.unknown == "Error: database is locked"


HALF = ["", "{", '{"generation": 1', "null", "[]", '"text"', "garbled", "\x00", "{}", '{"generation": 1}']
WRONG_SPECS = [{**spec_file(), "generation": "1"}, {**spec_file(), "port": None}, {**spec_file(), "port": "5501"}]


@pytest.mark.parametrize("half", [*HALF, *map(json.dumps, WRONG_SPECS)])
def test_half_a_spec_file_counts_as_none(half: str) -> None:
    found = parsed(spoilt("spec", half))
    assert found.spec == SpecFile()
    assert found.spec.generation is None


@pytest.mark.parametrize("half", ["", "{", "null", "[]"])
def test_half_a_marker_counts_as_none(half: str) -> None:
    assert parsed(spoilt("marker", half)).marker == {}


@pytest.mark.parametrize(
    "said",
    [
        'psql: error: connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory',
        'psql: error: FATAL:  database "memory" does not exist',
        "FATAL:  the database system is starting up",
        "",
    ],
)
def test_a_server_that_does_not_answer_is_down_in_its_own_words(said: str) -> None:
    found = parsed(spoilt("server", said))
    assert found.answer is None
    assert found.server is None
    assert found.server_error == said


def test_the_answers_of_two_roles_are_one_and_either_alone_is_none() -> None:
    told = server()
    by_monitor = {"ledger": told["ledger"]}
    by_superuser = {name: value for name, value in told.items() if name != "ledger"}
    both = f"{json.dumps(by_superuser)}\n{json.dumps(by_monitor)}"
    assert parsed(spoilt("server", both)).answer == told
    for alone in (by_superuser, by_monitor):
        found = parsed(spoilt("server", f"{json.dumps(alone)}\npsql: error: FATAL:  sorry"))
        assert (found.answer, found.server_error) == (None, "psql: error: FATAL:  sorry")


def test_notices_before_the_answer_do_not_hide_it() -> None:
    found = parsed(spoilt("server", "NOTICE:  something\n" + json.dumps(server())))
    assert found.answer == server()


def test_a_container_without_labels_is_read_too() -> None:
    stranger = container(labels={})
    found = parsed(observe_output(found=state(container=stranger))).container
    assert found is not None
    assert (found.spec_hash, found.generation) == ("", "")


def test_labels_and_mounts_that_podman_prints_as_null_are_none() -> None:
    told = json.loads(REAL)
    told[0]["Config"]["Labels"] = told[0]["Mounts"] = None
    found = parsed(spoilt("container", json.dumps(told))).container
    assert found is not None
    assert (found.labels, found.mounts) == ({}, ())


def test_the_image_has_the_same_form_in_every_podman() -> None:
    told = json.loads(REAL)
    bare = told[0]["Image"].removeprefix("sha256:")
    for form in (bare, f"sha256:{bare}"):
        told[0]["Image"] = form
        found = parsed(spoilt("container", json.dumps(told))).container
        assert found is not None
        assert found.image == f"sha256:{bare}"


def without(path: str) -> list[Any]:
    told: list[Any] = json.loads(REAL)
    *way, last = path.split("/")
    place = told[0]
    for key in way:
        place = place[key]
    del place[last]
    return told


WRONG = {
    "no output": "",
    "another program's": "sh: 1: podman: not found",
    "half of it": observe_output()[: len(observe_output()) // 2],
    "an empty array": spoilt("container", "[]"),
    "an array of text": spoilt("container", '["acme"]'),
    "an array of null": spoilt("container", "[null]"),
    "half an array": spoilt("container", REAL[:500]),
    "digests without paths": spoilt("files", "deadbeef"),
    "half a server": spoilt("server", '{"version": "18.6"'),
    "no status": spoilt("container", json.dumps(without("State/Status"))),
    "no image": spoilt("container", json.dumps(without("Image"))),
    "no read-only flag": spoilt("container", json.dumps(without("HostConfig/ReadonlyRootfs"))),
}


@pytest.mark.parametrize("how", WRONG)
def test_other_output_than_the_scripts_own_fails_this_tenant_only(how: str) -> None:
    with pytest.raises(FactProcessError, match=r"unexpected answer from observe\.sh"):
        TenantObservation().process(WRONG[how].splitlines())


@given(st.lists(st.text() | st.sampled_from(observe_output().splitlines())))
def test_output_of_any_kind_fails_this_tenant_at_most(lines: list[str]) -> None:
    # Any other exception would end the run for every tenant.
    try:
        TenantObservation().process(lines)
    except FactProcessError as refused:
        assert "unexpected answer" in str(refused)


def test_a_tenant_that_could_not_be_asked_is_not_taken_for_an_absent_one() -> None:
    assert TenantObservation.default() is None


def test_the_sample_is_what_the_product_would_have_made() -> None:
    assert state().spec.body == spec_file(ACME)
    assert state().marker["system_identifier"] == SYSTEM
    assert replace(state(), answer=None) != state()
