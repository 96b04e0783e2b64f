"""The container's own checks: a table of what can be wrong, and the words for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pgberth.checks import container as checks
from pgberth.checks.context import CheckContext
from tests.fake_host import password_in
from tests.sample import ACME, MARKER, PROCESS, container, server, spec_file, state


def context(seen: Any = None, told: dict[str, Any] | None = None) -> CheckContext:
    """A tenant in order but for what the test gives."""
    found = seen or state()
    answered = replace(found, answer=told or server()).server
    assert answered is not None
    assert found.container is not None
    passwords = password_in("app-v1"), password_in("migrator-v1")
    return CheckContext(ACME, found, found.container, answered, ("127.0.0.1", 1), *passwords, {})


def problems(of: CheckContext) -> dict[str, list[str]]:
    """Red check -> its problems. None of these checks opens a session."""
    found = {check.id: list(check.find(of)) for check in checks.CHECKS}
    return {check: lines for check, lines in found.items() if lines}


def test_a_container_in_order_is_green() -> None:
    assert problems(context()) == {}


BY_UNIT = {**container().labels, "PODMAN_SYSTEMD_UNIT": "pgberth-acme.service"}
UNITS = {".config/systemd/user/pgberth-acme.service": "0" * 64}


def test_a_container_in_its_unit_is_green() -> None:
    assert problems(context(state(container=container(labels=BY_UNIT, supervised=True), units=UNITS))) == {}


def with_container(**changes: Any) -> CheckContext:
    return context(state(container=container(**changes)))


def process(**changes: str) -> CheckContext:
    return with_container(process={**PROCESS, **changes})


VOLUME, ETC = container().mounts
OTHER = {"Type": "bind", "Source": "/etc", "Destination": "/mnt", "RW": False}

PLANTED: dict[str, tuple[CheckContext, dict[str, list[str]]]] = {
    "another spec": (
        with_container(labels={**container().labels, "pgberth.spec": "0" * 16}),
        {"container-spec": [f"runs spec {'0' * 16}, its spec file says {spec_file()['hash']}"]},
    ),
    "no spec label": (
        with_container(labels={}),
        {"container-spec": [f"runs spec without a label, its spec file says {spec_file()['hash']}"]},
    ),
    "another image": (
        with_container(image="sha256:other"),
        {"container-image": [f"runs image sha256:other, its spec file says {spec_file()['image']}"]},
    ),
    "a capability": (
        process(CapEff="0000000000000001"),
        {"container-hardened": ["CapEff of the server is 0000000000000001, wanted 0000000000000000"]},
    ),
    "a bounding capability": (
        process(CapBnd="000001ffffffffff"),
        {"container-hardened": ["CapBnd of the server is 000001ffffffffff, wanted 0000000000000000"]},
    ),
    "new privileges": (process(NoNewPrivs="0"), {"container-hardened": ["NoNewPrivs of the server is 0, wanted 1"]}),
    "no seccomp": (process(Seccomp="0"), {"container-hardened": ["Seccomp of the server is 0, wanted 2"]}),
    "nothing known of its process": (
        with_container(process={}),
        {"container-hardened": [f"{name} of the server is None, wanted {value}" for name, value in PROCESS.items()]},
    ),
    "a writable root": (
        with_container(read_only=False),
        {"container-hardened": ["its root file system is writable"]},
    ),
    "privileged": (with_container(privileged=True), {"container-hardened": ["it is privileged"]}),
    "out of its unit": (
        context(state(container=container(labels=BY_UNIT), units=UNITS)),
        {
            "container-supervised": [
                "its server does not run inside pgberth-acme.service, which would not restart it after a crash"
            ]
        },
    ),
    "its unit is gone": (
        context(state(container=container(labels=BY_UNIT, supervised=True))),
        {"container-supervised": ["the file of pgberth-acme.service is gone: nothing would start it after a reboot"]},
    ),
    "another mount": (
        with_container(mounts=(VOLUME, ETC, OTHER)),
        {"container-mounts": ["/etc at /mnt (ro) is mounted, not wanted"]},
    ),
    "no configuration": (
        with_container(mounts=(VOLUME,)),
        {"container-mounts": [".local/share/pgberth/tenants/acme/etc at /etc/pgberth (ro) is not mounted"]},
    ),
    "a writable configuration": (
        with_container(mounts=(VOLUME, {**ETC, "RW": True})),
        {
            "container-mounts": [
                ".local/share/pgberth/tenants/acme/etc at /etc/pgberth (ro) is not mounted",
                ".local/share/pgberth/tenants/acme/etc at /etc/pgberth (rw) is mounted, not wanted",
            ]
        },
    ),
    "another tenant's volume": (
        with_container(mounts=({**VOLUME, "Name": "globex-data-g1"}, ETC)),
        {
            "container-mounts": [
                "acme-data-g1 at /var/lib/postgresql (rw) is not mounted",
                "globex-data-g1 at /var/lib/postgresql (rw) is mounted, not wanted",
            ]
        },
    ),
    "another generation": (
        context(state(spec={**spec_file(), "generation": 2})),
        {
            "container-mounts": [
                "acme-data-g1 at /var/lib/postgresql (rw) is mounted, not wanted",
                "acme-data-g2 at /var/lib/postgresql (rw) is not mounted",
            ]
        },
    ),
    "another tenant's data": (
        context(state(marker={**MARKER, "tenant": "globex"})),
        {"volume-identity": [f"its volume was initialised for another: {json.dumps({**MARKER, 'tenant': 'globex'})}"]},
    ),
    "another cluster's data": (
        context(state(answer=server(system_identifier="1"))),
        {
            "volume-identity": [
                f"its volume holds the cluster 1, {MARKER['system_identifier']}, and its marker names"
                f" {MARKER['system_identifier']}"
            ]
        },
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_each_thing_that_is_wrong_turns_its_own_check_red_in_these_words(what: str) -> None:
    planted, desired = PLANTED[what]
    assert problems(planted) == desired


@pytest.mark.parametrize("seen", [state(spec={}), state(marker={})], ids=["no spec file", "no marker"])
def test_a_file_that_is_gone_is_a_red_check_not_an_error(seen: Any) -> None:
    assert problems(context(seen))
