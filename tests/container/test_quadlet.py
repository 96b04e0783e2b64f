"""The container as a unit of systemd: the same arguments as podman run gets, word for word."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from pgberth.container.quadlet import unit, usable
from pgberth.container.spec import ContainerSpec
from tests.sample import IMAGE, spec_of


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def words(value: str) -> list[str]:
    """A value as systemd splits it, with its specifiers put back; shlex agrees with it on double quotes."""
    return [word.replace("%%", "%") for word in shlex.split(value)]


def arguments(spec: ContainerSpec) -> list[str]:
    """What podman gets from the unit, but for what Quadlet says itself."""
    return [word for value in values(unit(spec), "PodmanArgs") for word in words(value)]


def test_every_argument_of_podman_run_is_in_the_unit_but_what_systemd_does_itself() -> None:
    spec = spec_of()
    by_hand = spec.arguments()
    options = by_hand[: by_hand.index(IMAGE.id)]
    assert [option for option in options if option not in arguments(spec)] == [
        "--detach",
        "--name=acme",
        "--restart=no",
    ]
    assert not [option for option in arguments(spec) if option not in options]


def test_the_image_and_the_command_are_the_same() -> None:
    text = unit(spec_of())
    assert values(text, "Image") == [IMAGE.id]
    assert values(text, "ContainerName") == ["acme"]
    (command,) = values(text, "Exec")
    by_hand = spec_of().arguments()
    assert words(command) == by_hand[by_hand.index(IMAGE.id) + 1 :]


def test_each_argument_is_a_line_of_its_own() -> None:
    assert all(len(words(value)) == 1 for value in values(unit(spec_of()), "PodmanArgs"))


@pytest.mark.parametrize("home", ["/home/100%/x", "/home/%h", "/srv/a b", '/srv/a"b', "/srv/a\\b", "/srv/it's"])
def test_an_odd_home_is_one_word_of_one_argument(home: str) -> None:
    spec = replace(spec_of(), home=home)
    assert f"--volume={home}/.local/share/pgberth/tenants/acme/etc:/etc/pgberth:ro,Z" in arguments(spec)


def test_the_guards_refusals_are_not_tried_again() -> None:
    text = unit(spec_of())
    assert values(text, "Restart") == ["on-failure"]
    assert values(text, "RestartPreventExitStatus") == ["75 76"]


def test_systemd_waits_longer_for_the_server_to_stop_than_podman_does() -> None:
    (stop,) = (option for option in spec_of().arguments() if option.startswith("--stop-timeout="))
    (wait,) = values(unit(spec_of()), "TimeoutStopSec")
    assert int(wait) > int(stop.partition("=")[2])


@pytest.mark.parametrize(
    ("podman", "systemd", "wanted"),
    [
        ("4.3.1", True, False),
        ("4.5.9", True, False),
        ("4.6.0", True, True),
        ("5.4.2", True, True),
        ("5.4.2", False, False),
    ],
)
def test_units_are_for_machines_that_can_carry_them(podman: str, systemd: bool, wanted: bool) -> None:
    assert usable(podman, systemd) is wanted
