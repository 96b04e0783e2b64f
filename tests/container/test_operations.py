"""Verbs of a tenant's container: from each state that can be met, what is sent, and what is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgberth import commands
from pgberth.container import create, operations
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.container.supervisor import Supervisor
from pgberth.container.units import plain, quadlet, systemd_unit
from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.spec_file import SpecFile
from pgberth.model.tenant import Tenant
from pgberth.rendering.configuration import restart_files
from tests.fake_host import Answer, FakeHost, Sent, on, sent
from tests.sample import ABSENT, ACME, IMAGE, MARKER, READY, TAG, container, server, spec_file, spec_of, state

FILES = restart_files(ACME)
SPEC = layout.spec_file("acme")
# On a machine that is ready, each before anything of the tenant was created.
NEW = state(**ABSENT)
STORED = state(**{**ABSENT, "secrets": state().secrets})
INITIALISED = state(**{**ABSENT, "secrets": state().secrets, "spec": {**spec_file(), "hash": None}})

Operation = Callable[..., Any]
ROOMS: dict[str, Operation] = {
    "data": operations.data_is_its_own,
    "new": create.tenant_created,
    "passwords": operations.secrets_exist,
    "volume": operations.volume_initialised,
    "container": operations.container_running,
}


def host(found: TenantState | None, volumes: Answer | None = None) -> FakeHost:
    return FakeHost(facts={TenantObservation: lambda **_: found}, answers=[("podman volume ls", volumes or Answer())])


def do(room: str, at: FakeHost | TenantState | None, tenant: Tenant = ACME) -> list[Sent]:
    here = at if isinstance(at, FakeHost) else host(at)
    return sent(ROOMS[room], here, context=TenantContext(tenant, "SELECT 1"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_tenant_in_order_is_left_alone(room: str) -> None:
    at = host(state())
    assert do(room, at) == []
    assert at.asked == []


@pytest.mark.parametrize(
    "found", [None, state(machine_profile=None, **ABSENT)], ids=["could not be asked", "not ready"]
)
def test_on_a_machine_that_is_not_ready_the_first_room_refuses_and_the_others_do_nothing(found: TenantState) -> None:
    (refused,) = do("passwords", found)
    assert refused.refusal.startswith("acme: ")
    assert "HINT: run the deploy once without --limit" in refused.refusal
    assert do("volume", found) == do("container", found) == []


def test_missing_passwords_are_created_on_the_machine_and_travel_nowhere() -> None:
    (create,) = do("passwords", NEW)
    assert create.under_command_lock
    assert create.stdin == ""
    assert create.arguments == [layout.secrets("acme"), "superuser-v1", "migrator-v1", "app-v1", "monitor-v1"]


def test_only_the_missing_password_is_created() -> None:
    (create,) = do("passwords", state(secrets=frozenset({"superuser-v1", "migrator-v1", "monitor-v1"})))
    assert create.arguments[1:] == ["app-v1"]


def test_the_passwords_that_the_spec_file_names_are_the_ones_that_count() -> None:
    rotated = {**spec_file(), "secrets": {**spec_file()["secrets"], "app": "app-v8"}}
    assert do("passwords", state(spec=rotated))[0].arguments[1:] == ["app-v8"]
    assert do("passwords", state(spec=rotated, secrets=state().secrets | {"app-v8"})) == []


def listed(*volumes: tuple[str, Any]) -> Answer:
    """What list-volumes.sh says. A dictionary is the marker of the tenant's own, anything else what it says itself."""
    holds = {name: f"own {is_in['major']}" if isinstance(is_in, dict) else is_in for name, is_in in volumes}
    return Answer("\n".join(f"{name} {what}" for name, what in holds.items()))


def written(command: Sent) -> dict[str, Any]:
    """The spec file that the command writes."""
    text, mode = command.files[SPEC]
    assert mode == "0600"
    body: dict[str, Any] = json.loads(text)
    return body


def test_a_new_tenants_volume_is_initialised_and_then_named_by_the_spec_file() -> None:
    init, spec = do("volume", STORED)
    assert init.under_command_lock
    assert init.stdin == commands.script("container/init.sh")
    assert init.arguments[:4] == ["acme-init", "acme-data-g1", "acme", "1"]
    later = ("hash", "rollout", "supervisor")  # of the container
    assert written(spec) == {key: value for key, value in spec_file().items() if key not in later}


def test_the_container_that_initialises_is_thrown_away_hardened_and_without_a_network() -> None:
    arguments = do("volume", STORED)[0].arguments[4:]
    desired = {"--rm", "--interactive", "--name=acme-init", "--pull=never", "--network=none", "--cap-drop=all"}
    assert desired | {"--read-only", "--security-opt=no-new-privileges", "--user=101:101"} <= set(arguments)
    after_image = arguments[arguments.index(IMAGE.id) + 1 :]
    marker = "/var/lib/postgresql/pgberth.initialised"
    assert after_image == ["-s", IMAGE.bindir, "/var/lib/postgresql/18/data", marker, "acme", "1"]
    assert not [word for word in arguments if word.startswith(("--env", "-e", "--secret", "--publish"))]


@pytest.mark.parametrize("holds", ["empty", "begun"])
def test_a_volume_that_nobody_can_have_written_to_is_initialised(holds: str) -> None:
    init, spec = do("volume", host(STORED, listed(("acme-data-g3", holds), ("acme-data-g1", "data"))))
    assert init.arguments[1:4] == ["acme-data-g3", "acme", "3"]
    assert written(spec)["generation"] == 3


def test_a_volume_without_a_marker_is_named_and_the_next_generation_stands_beside_it() -> None:
    at = host(STORED, listed(("acme-data-g2", "data"), ("acme-data-g1", "begun")))
    init, spec = do("volume", at)
    assert init.arguments[1:4] == ["acme-data-g3", "acme", "3"]
    assert written(spec)["generation"] == 3
    kept = "has no marker, so it is kept as it is; runbooks/foreign-volume.md"
    assert at.said == [f"acme: volume acme-data-g{number} {kept}" for number in (2, 1)]


def test_a_volume_with_the_marker_is_adopted_and_never_initialised_again() -> None:
    (spec,) = do("volume", host(STORED, listed(("acme-data-g1", MARKER))))
    assert written(spec)["generation"] == 1


def test_of_several_volumes_the_newest_with_a_marker_is_adopted() -> None:
    found = listed(
        ("acme-data-g10", "data"),
        ("acme-data-g9", {**MARKER, "generation": 9}),
        ("acme-data-g8", "foreign has a marker that cannot be read"),
        ("acme-data-g1", MARKER),
    )
    (spec,) = do("volume", host(STORED, found))
    assert written(spec)["generation"] == 9


def test_a_volume_of_another_major_is_refused() -> None:
    (refused,) = do("volume", host(STORED, listed(("acme-data-g1", {**MARKER, "major": 17}))))
    assert refused.refusal.startswith("acme: its volume holds PostgreSQL 17, the image is 18\nHINT: nothing was ")


@pytest.mark.parametrize("older", [(), (("acme-data-g1", MARKER),)], ids=["alone", "beside an older one"])
def test_a_volume_that_is_marked_and_not_shown_to_be_this_tenants_is_refused(older: Any) -> None:
    (refused,) = do(
        "volume", host(STORED, listed(("acme-data-g2", "foreign has a marker that cannot be read"), *older))
    )
    fact = "acme: its volume acme-data-g2 has a marker that cannot be read"
    assert refused.refusal == f"{fact}\nHINT: nothing was started; runbooks/foreign-volume.md"


def test_a_list_that_is_not_understood_stops_this_tenant_alone() -> None:
    (refused,) = do("volume", host(STORED, Answer("WARN[0000] the database is old")))
    assert refused.refusal.startswith("acme: the list of its volumes is not understood: WARN[0000]")


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "no marker": ({"marker": {}}, "has no marker, or one that is not understood"),
    "another tenant's marker": ({"marker": {**MARKER, "tenant": "globex"}}, "was initialised for another: {"),
    "another generation's": ({"marker": {**MARKER, "generation": 2}}, "has the marker of generation 2"),
    "another cluster on the disk": (
        {"cluster": "8", "answer": None},
        f"holds the cluster 8, and its marker names {MARKER['system_identifier']}",
    ),
    "another cluster in memory": (
        {"answer": server(system_identifier="8")},
        f"holds the cluster 7574928371649283746, 8, and its marker names {MARKER['system_identifier']}",
    ),
    "no control file": (
        {"cluster": "", "answer": None},
        f"holds the cluster that cannot be read, and its marker names {MARKER['system_identifier']}",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_nothing_is_sent_to_a_server_whose_data_is_not_shown_to_be_the_tenants(what: str) -> None:
    changes, says = FOREIGN[what]
    at = host(state(**changes))
    (refused,) = do("data", at)
    assert refused.refusal.startswith(f"acme: its volume acme-data-g1 {says}")
    assert refused.refusal.endswith("HINT: nothing was sent to its server; runbooks/foreign-volume.md")
    context = TenantContext(ACME, "SELECT 1")
    with on(at):
        for send in (context.require_server, lambda: context.superuser("SELECT 1")):
            with pytest.raises(Refused):
                send()
    assert at.asked == []


def test_podman_is_not_asked_for_volumes_where_it_certainly_has_none() -> None:
    here = host(replace(STORED, volumes=()), Answer(done=False))
    init, _ = do("volume", here)
    assert init.arguments[1] == "acme-data-g1"
    assert here.asked == []


def test_a_podman_that_does_not_list_volumes_is_refused() -> None:
    (refused,) = do("volume", host(STORED, Answer(stderr="Error: database is locked", done=False)))
    assert "podman does not list volumes: Error: database is locked" in refused.refusal


OLD = replace(READY, images={TAG: replace(IMAGE, pgvector="0.8.3")})
TOO_OLD = replace(READY, images={TAG: replace(IMAGE, pgvector="0.7.4")})


@pytest.mark.parametrize("room", ["volume", "container"])
@pytest.mark.parametrize(
    ("ready", "says"),
    [
        (replace(READY, images={}), f"image {TAG} is not on @local"),
        (OLD, f"image {TAG} carries pgvector 0.8.3, 0.8.4 is the floor"),
        (TOO_OLD, f"image {TAG} carries pgvector 0.7.4, 0.8.0 is the floor"),
    ],
)
def test_a_tenant_without_a_usable_image_is_refused(room: str, ready: Any, says: str) -> None:
    found = replace(STORED if room == "volume" else INITIALISED, machine_profile=ready)
    (refused,) = do(room, found)
    assert refused.refusal.startswith(f"acme: {says}\nHINT: ")


def test_an_old_pgvector_is_taken_where_the_tenant_says_so() -> None:
    knowing = replace(ACME, allow_old_pgvector=True)
    init, _ = do("volume", replace(STORED, machine_profile=OLD), knowing)
    assert init.arguments[1] == "acme-data-g1"


@pytest.mark.parametrize("knowing", [True, False])
def test_a_pgvector_without_iterative_scans_is_never_taken(knowing: bool) -> None:
    """It could only turn red: `search-defaults` asks for a setting that it does not have."""
    tenant = replace(ACME, allow_old_pgvector=knowing)
    for room in ("new", "volume"):
        (refused,) = do(room, state(machine_profile=TOO_OLD, volumes=(), **ABSENT), tenant)
        assert "carries pgvector 0.7.4, 0.8.0 is the floor\nHINT: use a newer image: with this" in refused.refusal
        assert "allow_old_pgvector" not in refused.refusal


def started(commands_sent: list[Sent]) -> list[str]:
    """The arguments of podman run that the last command starts the container with."""
    *files, start = commands_sent
    assert all(command.under_command_lock for command in commands_sent)
    assert start.script == commands.script("container/start.sh")
    (write,) = files
    assert [path for path in write.files if "/etc/" in path] == [f"{layout.etc('acme')}/{name}" for name in FILES]
    return start.arguments


def test_a_container_is_created_from_the_spec_and_its_files_come_first() -> None:
    commands_sent = do("container", INITIALISED)
    arguments = started(commands_sent)
    assert arguments[:4] == ["acme", IMAGE.bindir, "157D", "60"]
    assert int(arguments[2], 16) == ACME.port
    assert arguments[4:7] == ["acme-data-g1", layout.log("acme"), ""]
    assert arguments[7:] == spec_of().arguments()
    assert written(commands_sent[-2]) == spec_file()


def test_the_guard_may_be_run_and_the_settings_only_read_each_by_its_owner_alone() -> None:
    write, _ = do("container", INITIALISED)
    modes = {path: mode for path, (_, mode) in write.files.items()}
    assert modes[f"{layout.etc('acme')}/guard.sh"] == "0700"
    assert modes[f"{layout.etc('acme')}/postgresql.conf"] == "0600"


def test_a_lost_spec_file_is_written_again_and_the_running_container_left_alone() -> None:
    named, *more = do("volume", host(state(spec={}), listed(("acme-data-g1", MARKER))))
    assert more == []
    (completed,) = do("container", state(spec=written(named)))
    assert written(completed) == spec_file()


@pytest.mark.parametrize(
    ("podman", "supervisor", "file", "rendered"),
    [
        ("5.4.2", Supervisor.QUADLET, ".config/containers/systemd/pgberth-acme.container", quadlet),
        ("4.3.1", Supervisor.UNIT, ".config/systemd/user/pgberth-acme.service", plain),
    ],
)
def test_a_machine_with_units_gets_one(podman: str, supervisor: Supervisor, file: str, rendered: Any) -> None:
    *_, start = do("container", replace(INITIALISED, machine_profile=replace(READY, podman=podman, units=True)))
    assert start.arguments[6] == file
    assert start.stdin == rendered(replace(spec_of(), podman=podman, supervisor=supervisor))


@pytest.mark.parametrize("podman", ["4.3.1", "5.4.2"])
def test_a_machine_without_units_gets_none(podman: str) -> None:
    *_, start = do("container", replace(INITIALISED, machine_profile=replace(READY, podman=podman)))
    assert (start.arguments[6], start.stdin) == ("", "")


WITH_UNITS = replace(READY, podman="4.3.1", units=True)
UNDER = replace(spec_of(), supervisor=Supervisor.UNIT)
SUPERVISED = state(
    machine_profile=WITH_UNITS,
    container=container(labels={**container().labels, "pgberth.spec": UNDER.hash}, supervised=True),
    spec={**spec_file(), "hash": UNDER.hash, "supervisor": Supervisor.UNIT},
    units=systemd_unit(UNDER).digests,
)
LOST: dict[str, dict[str, str]] = {
    "no file at all": {},
    "no link": {systemd_unit(UNDER).file: systemd_unit(UNDER).digests[systemd_unit(UNDER).file]},
    "another text": dict.fromkeys(systemd_unit(UNDER).digests, "0" * 64),
    "one of another supervisor besides": {
        **systemd_unit(UNDER).digests,
        f"{layout.QUADLETS}/pgberth-acme.container": "",
    },
}


def test_a_running_tenant_with_its_unit_is_left_alone() -> None:
    assert do("container", SUPERVISED) == []


@pytest.mark.parametrize("units", LOST.values(), ids=LOST)
def test_a_lost_or_edited_unit_is_written_again_while_the_tenant_runs_on(units: dict[str, str]) -> None:
    (write,) = do("container", replace(SUPERVISED, units=units))
    unit = systemd_unit(UNDER)
    assert write.under_command_lock
    assert (write.arguments[:2], write.stdin) == ([unit.file, unit.link], unit.text)
    assert write.arguments[2:] == sorted(set(units) - set(unit.digests))
    code = [line for line in write.script.splitlines() if not line.startswith("#")]
    assert not {"start", "restart", "stop"} & set(" ".join(code).split())


def test_a_running_tenant_of_another_spec_keeps_the_unit_that_carries_it() -> None:
    assert do("container", replace(SUPERVISED, units={}), replace(ACME, port=5599)) == []


def test_a_container_that_no_client_can_reach_is_created_again() -> None:
    commands_sent = do("container", state(container=container(unreachable="its monitor, conmon, is dead")))
    assert started(commands_sent)[7:] == spec_of().arguments()


DOWN = ["created", "exited", "stopped", "dead"]


@pytest.mark.parametrize("status", DOWN)
def test_a_container_that_does_not_run_is_created_again(status: str) -> None:
    found = state(container=container(status=status, pid=0, exit_code=1, process={}), marker={}, answer=None)
    commands_sent = do("container", found)
    assert started(commands_sent)[7:] == spec_of().arguments()
    assert SPEC not in commands_sent[0].files  # it names that spec already


@pytest.mark.parametrize(
    ("edited", "says"),
    [
        ({"generation": 7}, "says generation 7, and its container runs on generation 1"),
        ({"major": 17}, "says major 17, and its container runs on major 18"),
    ],
)
def test_a_spec_file_that_contradicts_what_runs_is_refused(edited: dict[str, Any], says: str) -> None:
    (refused,) = do("container", state(spec={**spec_file(), **edited}))
    assert refused.refusal.startswith(f"acme: ~/{SPEC} {says}\nHINT: nothing was done; ")


def test_a_container_that_does_not_run_takes_up_a_change_at_once() -> None:
    moved = replace(ACME, port=5599)
    found = state(container=container(status="exited", pid=0, process={}), marker={}, answer=None)
    commands_sent = do("container", found, moved)
    assert "--publish=127.0.0.1:5599:5432" in started(commands_sent)
    body = written(commands_sent[-2])
    assert (body["port"], body["hash"]) == (5599, spec_of(moved).hash)
    assert body["secrets"] == spec_file()["secrets"]


CHANGES: list[Tenant] = [replace(ACME, port=5599), replace(ACME, name="acme", port=5600)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_running_container_is_never_interrupted_whatever_changed(change: Tenant) -> None:
    at = host(state())
    assert do("container", at, change) == []
    assert at.asked == []
    assert at.said == [f"pending: recycle (spec {spec_of().hash} runs, {spec_of(change).hash} is wanted)"]


def test_a_running_container_without_a_spec_label_is_not_interrupted_either() -> None:
    at = host(state(container=container(labels={"pgberth.tenant": "acme"})))
    assert do("container", at) == []
    assert at.said == [f"pending: recycle (spec unknown runs, {spec_of().hash} is wanted)"]


@pytest.mark.parametrize("status", ["running", *DOWN])
@pytest.mark.parametrize("labels", [{}, {"pgberth.tenant": "globex"}, {"maintainer": "somebody"}])
def test_a_container_of_that_name_that_is_not_the_tenants_is_refused(status: str, labels: dict[str, str]) -> None:
    (refused,) = do("container", state(container=container(status=status, labels=labels)))
    assert refused.refusal.startswith("acme: container 'acme' exists and is not this tenant's\nHINT: ")


def test_a_container_that_podman_cannot_describe_is_refused_not_created_again() -> None:
    (refused,) = do("container", state(container=None, unknown="Error: database is locked", answer=None))
    assert refused.refusal == "acme: podman cannot describe its container: Error: database is locked"


def test_every_refusal_names_the_tenant_and_sends_nothing_else() -> None:
    for found in (
        state(container=None, unknown="x"),
        state(container=container(labels={})),
        replace(NEW, machine_profile=None),
    ):
        for room in ROOMS:
            for command in do(room, found):
                if command.refusal:
                    assert command.refusal.startswith("acme: ")
                    assert do(room, found) == [command]


def test_every_change_of_a_tenant_runs_under_its_command_lock() -> None:
    for room, found in (("passwords", NEW), ("volume", STORED), ("container", INITIALISED)):
        assert all(command.under_command_lock for command in do(room, found))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, dict.fromkeys(("superuser", "migrator", "app", "monitor"))),
        ({"secrets": {"app": "app-v8"}}, {"app": "app-v8"}),
        ({"secrets": None}, {}),
        ({"secrets": ["app-v8"]}, {}),
        ({"secrets": {"app": ""}}, {}),
        ({"secrets": {"app": "../../../../etc/shadow"}}, {}),
        ({"secrets": {"app": "/etc/shadow"}}, {}),
        ({"secrets": {"app": "app-v1/../migrator-v1"}}, {}),
        ({"secrets": {"app": "app-v1\n"}}, {}),
        ({"secrets": {"app": ["app-v8"]}}, {}),
    ],
)
def test_each_kind_of_secret_has_a_file_whatever_the_spec_file_says(body: Any, named: dict[str, str | None]) -> None:
    names = SpecFile(body).secret_names
    assert set(names) == {"superuser", "migrator", "app", "monitor"}
    for kind, name in names.items():
        assert name == (named.get(kind) or f"{kind}-v1")
