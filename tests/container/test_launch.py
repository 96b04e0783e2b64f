"""What starts one container, as a value: the desired one, and the running one as it was created."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from pgberth import commands
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.launch import ContainerLaunch, running_launch
from pgberth.container.supervisor import Supervisor, SystemdUnit
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.spec_file import SpecFile
from pgberth.rendering.configuration import restart_files
from tests.fake_host import Answer, FakeHost, as_sent, on, understood
from tests.sample import ACME, container, spec_file, spec_of, state

FILES = restart_files(ACME)
CREATED = ("--detach", "--name=acme", "sha256:old", "/bin", "/data")


def printed(name: str, text: str) -> str:
    """A line of read-files.sh."""
    return f"{name} {base64.b64encode(text.encode()).decode()}"


def running(*lines: str, done: bool = True, **changes: Any) -> ContainerLaunch:
    found = state(container=container(arguments=CREATED, **changes))
    host = FakeHost(
        facts={TenantObservation: lambda **_: found}, answers=[("base64", Answer("\n".join(lines), done=done))]
    )
    with on(host):
        return running_launch(TenantContext(ACME), FILES)


WHOLE = (printed("etc/guard.sh", "#!/bin/sh\n"), printed("etc/postgresql.conf", "port = '1'\n"))


def test_what_runs_is_kept_as_it_was_created_and_not_as_this_release_would_create_it() -> None:
    found = running(*WHOLE)
    assert found.arguments == CREATED
    assert found.files == {"guard.sh": "#!/bin/sh\n", "postgresql.conf": "port = '1'\n"}
    assert (found.hash, found.port, found.unit) == (spec_of().hash, ACME.port, SystemdUnit("", ""))


def test_a_unit_is_kept_with_its_text() -> None:
    found = running(*WHOLE, printed(f"{layout.UNITS}/pgberth-acme.service", "[Unit]\n"))
    assert found.unit == SystemdUnit(f"{layout.UNITS}/pgberth-acme.service", "[Unit]")


@pytest.mark.parametrize(
    ("lines", "done", "says"),
    [
        (WHOLE[:1], True, "acme: etc/postgresql.conf of the running container is gone"),
        (WHOLE, False, "acme: its container's definition cannot be read"),
    ],
)
def test_what_could_not_be_brought_back_is_not_interrupted(lines: tuple[str, ...], done: bool, says: str) -> None:
    with pytest.raises(Refused) as refused:
        running(*lines, done=done)
    (problem,) = refused.value.problems
    assert problem.fact.startswith(says)


@pytest.mark.parametrize("supervisor", Supervisor)
def test_a_launch_survives_being_written_down(supervisor: Supervisor) -> None:
    desired = ContainerLaunch.desired(replace(spec_of(), supervisor=supervisor))
    assert ContainerLaunch.from_body(json.loads(json.dumps(desired.to_body(), default=dict))) == desired


@pytest.mark.parametrize("lost", ["generation", "port"])
@pytest.mark.parametrize("value", [None, "5501", 1.5, True])
def test_a_body_without_its_numbers_is_none(lost: str, value: object) -> None:
    body = json.loads(json.dumps(ContainerLaunch.desired(spec_of()).to_body(), default=dict))
    del body["spec"][lost]
    if value is not None:
        body["spec"][lost] = value
    with pytest.raises((KeyError, ValueError)):
        ContainerLaunch.from_body(body)


def test_the_spec_file_keeps_what_is_not_the_containers() -> None:
    found = {**spec_file(), "app_login": "memory_app_b", "image": "sha256:previous", "retired": "2026-01-01"}
    spec = ContainerLaunch.desired(spec_of()).spec_file(SpecFile(found))
    assert spec.body == {**spec_file(), "app_login": "memory_app_b"}


def test_one_command_stops_the_previous_and_starts_the_next_so_that_no_killed_operator_is_in_between() -> None:
    sent = as_sent(ContainerLaunch.desired(spec_of()).swap(TenantContext(ACME), stop_seconds=7))
    assert sent.under_command_lock
    assert 'set -- "$1" "$stop_seconds"\n' in sent.script
    assert sent.arguments[0] == "7"
    stop, start = (commands.script(f"container/{name}.sh") for name in ("stop", "start"))
    assert sent.script.index(stop) < sent.script.index(start)
    assert understood(sent.script)
    assert sent.arguments[1:5] == ["acme", "/usr/lib/postgresql/18/bin", f"{ACME.port:04X}", "30"]


def test_the_rollout_key_is_that_of_whatever_differs_in_name_port_and_machine_only() -> None:
    here = spec_of()
    other = replace(
        here,
        tenant=replace(ACME, name="globex", port=5999),
        generation=7,
        home="/srv/b",
        limits=True,
        podman="5.4.2",
        supervisor=Supervisor.QUADLET,
    )
    assert here.rollout_hash == other.rollout_hash
    assert here.hash != other.hash


@pytest.mark.parametrize(
    "change",
    [
        {"image": replace(spec_of().image, id="sha256:another")},
        {"files": {**FILES, "postgresql.conf": "work_mem = '8MB'\n"}},
        {"tenant": replace(ACME, profile_name="medium")},
    ],
    ids=["image", "flags", "profile"],
)
def test_the_rollout_key_is_another_with_another(change: dict[str, Any]) -> None:
    assert replace(spec_of(), **change).rollout_hash != spec_of().rollout_hash
