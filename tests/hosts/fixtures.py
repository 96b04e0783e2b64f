"""
Throwaway hosts as fixtures. Who wants them elsewhere imports them into a conftest.

Where this machine or this user cannot have them, every test that asks for one is skipped, with the reason.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.hosts import image, needs, server_image
from tests.hosts.host import Boot, Host
from tests.hosts.room import Room, opened_room

__all__ = ["host_image", "hosts", "module_hosts", "room", "server_archive"]


@pytest.fixture(scope="session")
def host_image() -> str:
    """The image of the hosts, Debian 13: built where this machine does not have it yet."""
    try:
        needs.provide()
    except needs.Unfit as unfit:
        pytest.skip(str(unfit))
    return image.provide()


@pytest.fixture(scope="session")
def server_archive() -> Path:
    """The tenants' server image, for `Image(archive=...)`: built where this machine does not have it yet."""
    try:
        needs.provide()
    except needs.Unfit as unfit:
        pytest.skip(str(unfit))
    return server_image.provide()


@pytest.fixture(scope="session")
def room(host_image: str) -> Iterator[Room]:
    """Where this run's hosts live; SIGTERM ends it as Ctrl-C does, with everything removed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with opened_room() as opened:
            yield opened
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def hosts(room: Room) -> Iterator[Boot]:
    """hosts(name, suite=...) boots one; all are destroyed after the test."""
    yield from factory(room)


@pytest.fixture(scope="module")
def module_hosts(room: Room) -> Iterator[Boot]:
    """The same for all tests of a module together."""
    yield from factory(room)


def factory(room: Room) -> Iterator[Boot]:
    """boot(name, suite=...), and the end of all that were booted, beside the tests that come next."""
    made: list[Host] = []

    def boot(name: str, suite: str = image.TRIXIE) -> Host:
        made.append(room.boot(name, suite))
        return made[-1]

    yield boot
    for host in reversed(made):
        room.dismiss(host)
