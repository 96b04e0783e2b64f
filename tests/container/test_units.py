"""Three supervisors, one list of podman arguments: word for word the same container under each of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace

import pytest

from pgberth.container.spec import ContainerSpec
from pgberth.container.supervisor import Supervisor, supervisor_of
from pgberth.container.units import plain, quadlet, systemd_unit
from pgberth.model import layout
from pgberth.model.listen import Listen
from tests.sample import IMAGE, spec_of

RENDERED: dict[Supervisor, Callable[[ContainerSpec], str]] = {Supervisor.UNIT: plain, Supervisor.QUADLET: quadlet}


def under(supervisor: Supervisor) -> ContainerSpec:
    return replace(spec_of(), supervisor=supervisor)


def text_of(supervisor: Supervisor) -> str:
    return RENDERED[supervisor](under(supervisor))


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def words(value: str) -> list[str]:
    """A value as systemd splits it, with what it would replace put back; shlex agrees with it on double quotes."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(value)]


def arguments(spec: ContainerSpec) -> list[str]:
    """What podman is told besides the image and the command, past what is said by the supervisor itself."""
    if spec.supervisor is Supervisor.QUADLET:
        return [word for value in values(quadlet(spec), "PodmanArgs") for word in words(value)]
    if spec.supervisor is Supervisor.UNIT:
        (start,) = values(plain(spec), "ExecStart")
        told = words(start)
        return told[told.index("run") + 1 : told.index(spec.image.id)]
    return spec.options()


# What a supervisor says in its own words, or leaves to systemd.
OWN = {
    Supervisor.PODMAN: {"--detach", "--name=acme", "--restart=no"},
    Supervisor.UNIT: {"--detach", "--name=acme", "--replace", "--cgroups=split", "--sdnotify=conmon"},
    Supervisor.QUADLET: set(),
}


def common(supervisor: Supervisor) -> list[str]:
    """All but the fingerprint, which tells them apart."""
    words = [word for word in arguments(under(supervisor)) if word not in OWN[supervisor]]
    return [word for word in words if not word.startswith("--label=pgberth.spec=")]


def test_all_three_carry_the_same_arguments_in_the_same_order() -> None:
    desired = common(Supervisor.PODMAN)
    assert len(desired) > 20
    assert common(Supervisor.UNIT) == common(Supervisor.QUADLET) == desired


@pytest.mark.parametrize(
    ("podman", "supervisor", "interval"),
    [
        ("5.4.2", Supervisor.QUADLET, "60s"),
        ("4.9.4", Supervisor.QUADLET, "disable"),
        ("4.3.1", Supervisor.UNIT, "disable"),
        ("5.4.2", Supervisor.PODMAN, "disable"),
    ],
)
def test_health_is_asked_for_each_minute_where_podman_s_timer_can_be_stopped_again(
    podman: str, supervisor: Supervisor, interval: str
) -> None:
    assert f"--health-interval={interval}" in arguments(replace(under(supervisor), podman=podman))


@pytest.mark.parametrize("supervisor", RENDERED)
def test_memory_and_processes_are_limited_in_units_too(supervisor: Supervisor) -> None:
    limited = arguments(replace(under(supervisor), limits=True))
    assert {"--memory=384m", "--memory-swap=384m", "--pids-limit=330"} <= set(limited)
    # The limits land in the unit's own control group, which systemd hands over.
    assert "Delegate=yes" in plain(under(Supervisor.UNIT))


def test_the_image_and_the_command_are_the_same() -> None:
    by_hand = spec_of().arguments()
    command = by_hand[by_hand.index(IMAGE.id) + 1 :]
    text = text_of(Supervisor.QUADLET)
    assert values(text, "Image") == [IMAGE.id]
    assert values(text, "ContainerName") == ["acme"]
    assert words(values(text, "Exec")[0]) == command
    start = words(values(text_of(Supervisor.UNIT), "ExecStart")[0])
    assert start[start.index(IMAGE.id) + 1 :] == command


def test_each_argument_of_a_quadlet_is_a_line_of_its_own() -> None:
    assert all(len(words(value)) == 1 for value in values(text_of(Supervisor.QUADLET), "PodmanArgs"))


@pytest.mark.parametrize("supervisor", RENDERED)
@pytest.mark.parametrize(
    "home", ["/home/100%/x", "/home/%h", "/srv/a b", '/srv/a"b', "/srv/a\\b", "/srv/it's", "/srv/$HOME"]
)
def test_an_odd_home_is_one_word_of_one_argument(home: str, supervisor: Supervisor) -> None:
    spec = replace(under(supervisor), home=home)
    assert f"--volume={home}/.local/share/pgberth/tenants/acme/etc:/etc/pgberth:ro,Z" in arguments(spec)


@pytest.mark.parametrize("supervisor", RENDERED)
def test_the_guards_refusals_are_not_tried_again_and_nothing_is_for_ever(supervisor: Supervisor) -> None:
    text = text_of(supervisor)
    assert values(text, "Restart") == ["on-failure"]
    assert values(text, "RestartPreventExitStatus") == ["75 76"]
    assert values(text, "StartLimitBurst") == ["10"]


@pytest.mark.parametrize("supervisor", RENDERED)
def test_systemd_waits_longer_for_the_server_to_stop_than_podman_does(supervisor: Supervisor) -> None:
    (stop,) = (option for option in arguments(under(supervisor)) if option.startswith("--stop-timeout="))
    (wait,) = values(text_of(supervisor), "TimeoutStopSec")
    assert int(wait) > int(stop.partition("=")[2])


@pytest.mark.parametrize("supervisor", RENDERED)
def test_a_start_needs_its_volume_and_no_network(supervisor: Supervisor) -> None:
    text = text_of(supervisor)
    (before,) = values(text, "ExecStartPre")
    place = f"%h/{layout.VOLUMES}/acme-data-g1/_data"
    assert before.startswith(f'/bin/sh -c \'[ -d "{place}" ] || podman volume exists acme-data-g1 || ')
    assert not [line for line in text.splitlines() if line.startswith(("After=", "Wants=", "Requires="))]
    assert ("DefaultDependencies=false" in text) is (supervisor is Supervisor.QUADLET)


@pytest.mark.parametrize("supervisor", RENDERED)
def test_a_start_waits_for_an_address_beyond_loopback_that_comes_late(supervisor: Supervisor) -> None:
    spec = under(supervisor)
    text = RENDERED[supervisor](replace(spec, tenant=replace(spec.tenant, listen=Listen("10.0.0.5"))))
    waits, _ = values(text, "ExecStartPre")
    assert '|-- 10.0.0.5" /proc/net/fib_trie && break; sleep 1' in waits
    assert "fib_trie" not in text_of(supervisor)


@pytest.mark.parametrize("supervisor", RENDERED)
def test_a_server_that_is_busy_recovering_has_started(supervisor: Supervisor) -> None:
    assert "healthy" not in text_of(supervisor)


def test_a_unit_lies_where_its_reader_looks_and_no_tenant_can_take_a_unit_that_is_not_its_own() -> None:
    told = {supervisor: systemd_unit(under(supervisor)) for supervisor in Supervisor}
    assert {supervisor: (one.file, one.link) for supervisor, one in told.items()} == {
        Supervisor.PODMAN: ("", ""),
        Supervisor.UNIT: (
            ".config/systemd/user/pgberth-acme.service",
            ".config/systemd/user/default.target.wants/pgberth-acme.service",
        ),
        Supervisor.QUADLET: (".config/containers/systemd/pgberth-acme.container", ""),
    }


@pytest.mark.parametrize(
    ("podman", "systemd", "desired"),
    [
        ("4.3.1", True, Supervisor.UNIT),
        ("4.5.9", True, Supervisor.UNIT),
        ("4.6.0", True, Supervisor.QUADLET),
        ("5.4.2", True, Supervisor.QUADLET),
        ("5.4.2", False, Supervisor.PODMAN),
        ("4.3.1", False, Supervisor.PODMAN),
    ],
)
def test_a_machine_gets_the_supervisor_that_it_can_carry(podman: str, systemd: bool, desired: Supervisor) -> None:
    assert supervisor_of(podman, systemd) is desired
