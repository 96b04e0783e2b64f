"""A tenant's memory plugin: what its container should be, and what is sent from each state that can be met."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pgberth.commands import guarded_operation
from pgberth.container import plugin
from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.plugin_launch import PluginLaunch
from pgberth.container.plugin_state import PluginObservation, PluginState
from pgberth.container.sidecar import UNREAD, URL_FILE, PluginImage, SidecarSpec, plugin_url, sidecar_unit
from pgberth.container.state import TenantState
from pgberth.container.supervisor import Supervisor
from pgberth.database.operations import digest
from pgberth.model import layout
from pgberth.model.listen import Listen
from pgberth.model.sidecar import Sidecar
from pgberth.model.tenant import Tenant
from tests.fake_host import Answer, FakeHost, Sent, password_in, sent, stored
from tests.sample import ABSENT, ACME, HOME, READY, spec_file, state

IMAGE = PluginImage("sha256:" + "ab" * 32, ("/plugin", "--verbose"))
SIDECAR = Sidecar("localhost/plugin:1", 5601)
PLUGGED = replace(ACME, sidecar=SIDECAR)
REQUIRED = replace(ACME, sidecar=replace(SIDECAR, required=True))


def spec(podman: str = "4.3.1", **changes: Any) -> SidecarSpec:
    desired = SidecarSpec(
        PLUGGED, SIDECAR, IMAGE, 5501, HOME, podman, False, Supervisor.PODMAN
    )  # fmt: skip
    return replace(desired, **changes)


def url(podman: str = "4.3.1", *, tls: bool = False) -> str:
    return plugin_url(podman, 5501, "memory_app_a", password_in("app-v1"), tls=tls).reveal()


def current(**changes: Any) -> TenantState:
    """The tenant, with what its plugin connects with on its machine."""
    found = state(**changes)
    return replace(found, files={**found.files, f"sidecar-secrets/{URL_FILE}": digest(f"{url()}\n")})


HEALTHY = PluginState(IMAGE, True, spec().hash, "acme", "HTTP/1.0 200 OK", port=5601)
URL_PLACE = f"{layout.sidecar_secrets('acme')}/{URL_FILE}"
UNREAD_MARK = f"{layout.sidecar_secrets('acme')}/{UNREAD}"
NONE = PluginState(IMAGE, False, "", "", "")


@dataclass
class Recorded:
    """The part of a receipt that is about the plugin."""

    notes: list[str] = field(default_factory=list)
    did: dict[str, Any] = field(default_factory=dict)


def do(
    found: PluginState | None, tenant: Tenant = PLUGGED, seen: TenantState | None = None
) -> tuple[list[Sent], Recorded]:
    """What plugin_running sends, and what it records."""
    facts: dict[type, Any] = {TenantObservation: lambda **_: seen or current(), PluginObservation: lambda **_: found}
    host = FakeHost(facts=facts, answers=[stored(state().secrets)])
    return recorded(plugin.plugin_running, host, tenant)


def recorded(verb: Callable[..., Any], host: FakeHost, tenant: Tenant) -> tuple[list[Sent], Recorded]:
    context = TenantContext(tenant, "SELECT 1")
    commands = sent(verb, host, context=context)
    return commands, Recorded(context.receipt.notes, context.receipt.did)


# --- What it should be.


def test_no_password_is_among_podmans_arguments_in_the_unit_or_in_the_fingerprint() -> None:
    for desired in (spec(), spec(supervisor=Supervisor.UNIT)):
        told = json.dumps([desired.arguments(), sidecar_unit(desired).text, desired.files])
        assert password_in("app-v1").reveal() not in told
        assert "DATABASE_URL=" not in json.dumps(desired.arguments())


def test_its_url_leads_to_the_server_through_either_network() -> None:
    password = password_in("app-v1").reveal()
    tail = "/memory?options=-csearch_path%3Dmemory_plugin%2Cpublic&sslmode=disable"
    assert url() == f"postgresql://memory_app_a:{password}@10.0.2.2:5501{tail}"
    assert "--network=slirp4netns:allow_host_loopback=true,enable_ipv6=false" in spec().arguments()
    assert url("5.4.2") == f"postgresql://memory_app_a:{password}@127.0.0.1:5501{tail}"
    assert "--network=pasta:-T,5501" in spec("5.4.2").arguments()
    assert url(tls=True).endswith("&sslmode=require")


def test_where_the_whole_loopback_stands_behind_one_address_a_hook_leaves_the_servers_port_alone() -> None:
    hook = json.loads(spec().files["hooks/network.json"])
    assert hook["hook"]["args"] == ["network-hook.sh", "10.0.2.2", "5501"]
    assert hook["hook"]["path"] == f"{HOME}/{layout.sidecar_etc('acme')}/network-hook.sh"
    assert (hook["stages"], hook["when"]) == (["createRuntime"], {"always": True})
    assert "network-hook.sh" in spec().files
    assert f"--hooks-dir={spec().hooks} run" in sidecar_unit(spec(supervisor=Supervisor.UNIT)).text
    assert (spec("5.4.2").hooks, list(spec("5.4.2").files)) == ("", ["sidecar.sh"])


def test_it_is_closed_as_the_server_is_and_published_on_loopback_only() -> None:
    arguments = spec().arguments()
    assert {"--cap-drop=all", "--read-only", "--security-opt=no-new-privileges", "--pull=never"} <= set(arguments)
    assert [word for word in arguments if word.startswith("--publish")] == ["--publish=127.0.0.1:5601:9100"]
    assert "--env=MEMORY_PLUGIN_SKIP_MIGRATE=1" in arguments
    mounted = [word for word in arguments if word.startswith(("--volume=", "--secret="))]
    assert all(word.endswith(":ro,Z") for word in mounted)
    assert arguments[-3:] == [IMAGE.id, *IMAGE.command]


@pytest.mark.parametrize(
    "changes",
    [
        {"sidecar": replace(SIDECAR, port=5602)},
        {"server_port": 5502},
        {"podman": "5.4.2"},
        {"limits": True},
        {"supervisor": Supervisor.UNIT},
        {"image": PluginImage(IMAGE.id, ("/plugin",))},
    ],
    ids=str,
)
def test_whatever_needs_a_new_container_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert spec(**changes).hash != spec().hash


def test_the_unit_brings_it_back_whenever_it_ends() -> None:
    assert not sidecar_unit(spec()).file
    for supervisor in (Supervisor.UNIT, Supervisor.QUADLET):
        unit = sidecar_unit(spec(supervisor=supervisor))
        assert unit.file == ".config/systemd/user/pgberth-acme_memory-plugin.service"
        assert {"Restart=always", "StartLimitIntervalSec=0"} <= set(unit.text.splitlines())
        assert "--restart=" not in unit.text


# --- What is sent.


def test_a_tenant_without_a_plugin_costs_no_observation() -> None:
    facts: dict[type, Any] = {TenantObservation: lambda **_: state()}
    assert sent(plugin.plugin_running, FakeHost(facts=facts), context=TenantContext(ACME, "SELECT 1")) == []


@pytest.mark.parametrize(
    "seen", [state(machine_profile=None, **ABSENT), state(**ABSENT)], ids=["not ready", "no server"]
)
def test_without_a_server_there_is_no_plugin(seen: TenantState) -> None:
    assert do(NONE, seen=seen)[0] == []


def test_a_healthy_plugin_is_left_alone() -> None:
    assert do(HEALTHY) == ([], Recorded(did={"memory_plugin": "healthy"}))


def test_a_healthy_plugin_of_another_spec_is_pending_until_it_is_created_again() -> None:
    other = replace(HEALTHY, spec_hash="previous")
    commands, record = do(other)
    assert commands == []
    assert record.notes == [f"memory plugin: pending: recycle (spec previous runs, {spec().hash} is wanted)"]
    assert len(renewed(other, PLUGGED)) == 3


def test_a_healthy_plugin_whose_url_is_outdated_gets_the_current_one_in_the_container_that_it_has() -> None:
    listens = {**spec_file(), "listen": Listen("10.0.0.5").published}
    (told, reload), _ = do(HEALTHY, seen=current(spec=listens))
    # The mark first: it stays until a plugin that read the URL is healthy.
    assert list(told.files.items()) == [(UNREAD_MARK, ("", "0600")), (URL_PLACE, (f"{url(tls=True)}\n", "0400"))]
    assert "podman kill --signal HUP" in reload.script
    assert reload.arguments == ["acme", "acme_memory-plugin", "5601", "30", UNREAD_MARK]


@pytest.mark.parametrize(
    "found",
    [NONE, replace(HEALTHY, running=False), replace(HEALTHY, health=""), replace(HEALTHY, health="HTTP/1.0 503 x")],
    ids=["absent", "ended", "silent", "ill"],
)
def test_a_plugin_that_is_absent_or_ill_is_created_with_its_secret_on_stdin(found: PluginState) -> None:
    (written, start, former), _ = do(found)
    assert former.arguments == ["pgberth_acme_"]
    directory, place = layout.sidecar_etc("acme"), layout.sidecar_secrets("acme")
    assert written.files[f"{place}/{URL_FILE}"] == (f"{url()}\n", "0400")
    assert {path: mode for path, (_, mode) in written.files.items() if path.startswith(f"{directory}/")} == {
        f"{directory}/sidecar.sh": "0700",
        f"{directory}/network-hook.sh": "0700",
        f"{directory}/hooks/network.json": "0600",
    }
    assert json.loads(written.files[layout.spec_file("acme")][0]) == {
        **spec_file(), "sidecar": {"hash": spec().hash, "image": IMAGE.id, "port": 5601}
    }  # fmt: skip
    assert start.under_command_lock
    assert start.stdin == ""
    assert start.arguments[:11] == [
        *("acme", "acme_memory-plugin", UNREAD_MARK, "5601", "30", "no"),
        *("pgberth-acme_memory-plugin.service", "", spec().hooks, IMAGE.id, "/plugin"),
    ]
    assert start.arguments[11:] == spec().arguments()


def test_a_plugin_that_a_killed_run_may_not_have_told_its_url_is_told_again() -> None:
    seen = current()
    half_told = replace(seen, files={**seen.files, f"sidecar-secrets/{UNREAD}": digest("")})
    (_, reload), _ = do(HEALTHY, seen=half_told)
    assert "podman kill --signal HUP" in reload.script
    (_, start, _), record = do(replace(HEALTHY, spec_hash="previous"), seen=half_told)
    assert "podman kill --signal HUP" not in start.script
    assert not [note for note in record.notes if "pending" in note]


def test_a_taken_port_is_found_before_anything_is_created() -> None:
    facts: dict[type, Any] = {TenantObservation: lambda **_: state(), PluginObservation: lambda **_: NONE}
    answers = [stored(state().secrets), ("taken", Answer("by pid 4711 (python3)\ntaken 5601"))]
    (refused,) = sent(plugin.plugin_running, FakeHost(facts, answers), context=TenantContext(PLUGGED, "SELECT 1"))
    assert "acme: port 127.0.0.1:5601 is taken by pid 4711 (python3)" in refused.refusal


def test_where_systemd_is_the_units_text_is_sent() -> None:
    machine_profile = replace(READY, units=True)
    (_, start, _), _ = do(NONE, seen=state(machine_profile=machine_profile))
    unit = sidecar_unit(spec(supervisor=Supervisor.UNIT))
    assert (start.stdin, start.arguments[7]) == (unit.text, unit.file)


def test_what_is_degraded_is_noted() -> None:
    _, record = do(replace(HEALTHY, health="HTTP/1.0 503 x"))
    assert record.did == {"memory_plugin": "degraded"}
    assert record.notes == [
        "memory plugin: degraded: GET /v1/health gives HTTP/1.0 503 x; runbooks/sidecar-unhealthy.md"
    ]


def renewed(found: PluginState, tenant: Tenant) -> list[Sent]:
    """What a rotation sends."""

    @guarded_operation()
    def rotated(context: TenantContext) -> Any:
        yield from plugin.password_renewed(context)

    facts: dict[type, Any] = {TenantObservation: lambda **_: current(), PluginObservation: lambda **_: found}
    host = FakeHost(facts, [stored(state().secrets)])
    return sent(rotated, host, context=TenantContext(tenant, "SELECT 1"))


def test_a_rotation_reloads_a_healthy_plugin_and_creates_another_one_again() -> None:
    (_, reload) = renewed(HEALTHY, PLUGGED)
    assert "podman kill --signal HUP" in reload.script
    for found in (NONE, replace(HEALTHY, health=""), replace(HEALTHY, spec_hash="previous")):
        (_, start, _) = renewed(found, PLUGGED)
        assert "podman kill --signal HUP" not in start.script
    assert renewed(HEALTHY, ACME) == []


def test_a_launch_is_recorded_whole() -> None:
    launch = PluginLaunch.desired(spec(supervisor=Supervisor.UNIT))
    assert PluginLaunch.from_body(json.loads(json.dumps(launch.to_body(), default=dict))) == launch


REFUSALS: list[tuple[PluginState | None, str]] = [
    (None, "its memory plugin could not be observed"),
    (replace(NONE, image=None), "image localhost/plugin:1 of its memory plugin is not on @local"),
    (replace(NONE, image=PluginImage(IMAGE.id, ())), "has no command to run"),
    (replace(NONE, labelled="globex"), "container 'acme_memory-plugin' exists and is not this tenant's"),
]


@pytest.mark.parametrize(("found", "says"), REFUSALS, ids=[says for _, says in REFUSALS])
def test_what_cannot_run_is_refused_and_nothing_is_touched(found: PluginState | None, says: str) -> None:
    (refused,), _ = do(found)
    assert refused.refusal.startswith("acme: ")
    assert says in refused.refusal
    assert "\nHINT: " in refused.refusal


def test_a_plugin_that_the_inventory_has_no_longer_is_removed() -> None:
    had = state(spec={**spec_file(), "sidecar": {"hash": "x"}})
    (remove, former, told), _ = do(None, tenant=ACME, seen=had)
    assert remove.arguments == [
        *("acme_memory-plugin", "pgberth-acme_memory-plugin.service"),
        *(layout.sidecar_etc("acme"), layout.sidecar_secrets("acme")),
    ]
    assert former.arguments == ["pgberth_acme_"]
    assert json.loads(told.files[layout.spec_file("acme")][0]) == spec_file()


def verified(found: PluginState | None, tenant: Tenant) -> tuple[list[Sent], Recorded]:
    return recorded(plugin.plugin_answers, FakeHost(facts={PluginObservation: lambda **_: found}), tenant)


def test_verifying_fails_for_a_required_plugin_alone() -> None:
    ill = replace(HEALTHY, running=False)
    (refused,), _ = verified(ill, REQUIRED)
    assert "acme: its memory plugin is not healthy: it does not run" in refused.refusal
    commands, record = verified(ill, PLUGGED)
    assert (commands, record.did) == ([], {"memory_plugin": "degraded"})
    assert verified(HEALTHY, REQUIRED) == ([], Recorded(did={"memory_plugin": "healthy"}))
    assert verified(None, ACME) == ([], Recorded())


# --- How it is observed.


def answer(image: Any, container: Any, health: str) -> list[str]:
    parts = {"image": image and json.dumps([image]), "container": container and json.dumps([container])}
    told = {name: text or "" for name, text in parts.items()} | {"health": health}
    return [line for name, text in told.items() for line in ("", f"--- {name}", *text.splitlines())]


def test_an_observation_is_read() -> None:
    image = {"Id": "ab" * 32, "Config": {"Entrypoint": ["/plugin"], "Cmd": ["--verbose"]}}
    created = ["podman", "--hooks-dir=/h", "run", "--detach", "x"]
    config = {"Labels": {"pgberth.tenant": "acme", "pgberth.spec": "x"}, "Cmd": ["/plugin"], "CreateCommand": created}
    bindings = {"9100/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5601"}]}
    container = {
        "State": {"Status": "running"},
        "Image": "cd",
        "Config": config,
        "HostConfig": {"PortBindings": bindings},
    }
    found = PluginState.parse(answer(image, container, "HTTP/1.1 200 OK"))
    created_by = ("--detach", "x"), "/h", "sha256:cd", ("/plugin",), 5601
    assert found == PluginState(IMAGE, True, "x", "acme", "HTTP/1.1 200 OK", *created_by)
    assert PluginState.parse(answer(None, None, "")) == PluginState(None, False, "", "", "")
    bare = {"Id": "sha256:" + "ab" * 32, "Config": {}}
    assert PluginState.parse(answer(bare, None, "")).image == PluginImage(IMAGE.id, ())


def test_the_observation_asks_for_the_health_alone_and_takes_no_word_from_outside() -> None:
    text = PluginObservation().command("acme_memory-plugin", "x'y").get_raw_value()
    assert "GET /v1/health" in text
    assert re.search(r"acme_memory-plugin 'x'\"'\"'y'$", text)
