"""The wanted container: its arguments word for word, and a fingerprint that changes when and only when it must."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgberth.container.spec import ContainerSpec, hardening
from pgberth.container.supervisor import Supervisor
from pgberth.model.image import Image
from pgberth.model.profile import PROFILES, Profile
from pgberth.rendering.configuration import restart_files
from tests.sample import ACME, HOME, IMAGE, spec_of

GOLDEN = [
    "--detach",
    "--name=acme",
    "--hostname=acme",
    "--label=pgberth.tenant=acme",
    "--label=pgberth.generation=1",
    "--label=pgberth.bindir=/usr/lib/postgresql/18/bin",
    "--pull=never",
    "--restart=no",
    "--stop-timeout=60",
    "--stop-signal=SIGINT",
    "--log-driver=k8s-file",
    "--log-opt=max-size=10mb",
    "--log-opt=path=/home/pgberth/.local/share/pgberth/tenants/acme/server.log",
    "--userns=keep-id:uid=101,gid=101",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--read-only",
    "--read-only-tmpfs=false",
    "--mount=type=tmpfs,destination=/tmp,tmpfs-mode=1777,tmpfs-size=64m,noexec,chown=true",
    "--mount=type=tmpfs,destination=/run/postgresql,tmpfs-mode=1777,tmpfs-size=1m,noexec,chown=true",
    "--mount=type=tmpfs,destination=/dev/shm,tmpfs-mode=1777,tmpfs-size=128m,noexec,chown=true",
    "--volume=acme-data-g1:/var/lib/postgresql:Z",
    "--volume=/home/pgberth/.local/share/pgberth/tenants/acme/etc:/etc/pgberth:ro,Z",
    "--publish=127.0.0.1:5501:5432",
    "--health-cmd=exec /usr/lib/postgresql/18/bin/psql -XAtq -h /run/postgresql -U postgres -d postgres -c 'SELECT 1'",
    "--health-interval=disable",
    "--health-start-period=300s",
    "--user=101:101",
    "--entrypoint=/etc/pgberth/guard.sh",
    "--label=pgberth.spec={hash}",
    IMAGE.id,
    "/usr/lib/postgresql/18/bin",
    "/var/lib/postgresql/18/data",
    "/etc/pgberth",
    "acme",
]


def test_the_arguments_of_podman_run_are_these() -> None:
    spec = spec_of()
    assert spec.arguments() == [word.replace("{hash}", spec.hash) for word in GOLDEN]


def test_memory_and_processes_are_limited_where_the_machine_can_enforce_it() -> None:
    limited = set(replace(spec_of(), limits=True).arguments()) - set(spec_of().arguments())
    assert {word for word in limited if "label" not in word} == {
        "--memory=384m",
        "--memory-swap=384m",
        "--pids-limit=330",
    }


@pytest.mark.parametrize(
    ("podman", "policy"),
    [
        ("4.3.1", "no"),
        ("4.9.4", "no"),
        ("5.0.0", "on-failure:5"),
        ("5.4.2+ds1", "on-failure:5"),
        ("10.0", "on-failure:5"),
    ],
)
def test_podman_restarts_a_failed_server_only_where_that_is_safe(podman: str, policy: str) -> None:
    (found,) = (word for word in replace(spec_of(), podman=podman).arguments() if word.startswith("--restart="))
    assert found == f"--restart={policy}"


def test_no_policy_restarts_for_ever() -> None:
    for podman in ("4.3.1", "5.0.0", "99"):
        assert "--restart=always" not in replace(spec_of(), podman=podman).arguments()


def test_the_server_is_published_on_loopback_and_nowhere_else() -> None:
    published = [word for word in spec_of().arguments() if word.startswith("--publish")]
    assert published == ["--publish=127.0.0.1:5501:5432"]


def test_nothing_of_an_environment_or_a_secret_is_handed_to_the_container() -> None:
    assert not [word for word in spec_of().arguments() if word.startswith(("--env", "-e", "--secret"))]


def test_every_throwaway_container_is_as_hardened_as_the_server() -> None:
    assert set(hardening(IMAGE)) <= set(spec_of().arguments())
    assert {"--cap-drop=all", "--security-opt=no-new-privileges", "--read-only"} <= set(hardening(IMAGE))


def with_files(**changes: str) -> ContainerSpec:
    return replace(spec_of(), files={**restart_files(ACME), **changes})


def of(**changes: Any) -> ContainerSpec:
    return replace(spec_of(), tenant=replace(ACME, **changes))


NEEDS_A_NEW_CONTAINER: dict[str, Callable[[], ContainerSpec]] = {
    "another port": lambda: of(port=5502),
    "another image": lambda: replace(spec_of(), image=replace(IMAGE, id="sha256:new")),
    "another server user": lambda: replace(spec_of(), image=replace(IMAGE, uid=999)),
    "another bindir": lambda: replace(spec_of(), image=replace(IMAGE, bindir="/usr/local/pgsql/bin")),
    "another major": lambda: replace(spec_of(), image=replace(IMAGE, postgres="19.0")),
    "another generation": lambda: replace(spec_of(), generation=2),
    "another home": lambda: replace(spec_of(), home="/srv/pgberth"),
    "limits that can be enforced now": lambda: replace(spec_of(), limits=True),
    "a podman that restarts safely": lambda: replace(spec_of(), podman="5.0.0"),
    "another supervisor": lambda: replace(spec_of(), supervisor=Supervisor.UNIT),
    "another setting": lambda: with_files(**{"postgresql.conf": "shared_buffers = '65MB'\n"}),
    "another guard": lambda: with_files(**{"guard.sh": "#!/bin/sh\n"}),
    "one file more": lambda: with_files(**{"more.conf": ""}),
}
NEEDS_NONE: dict[str, Callable[[], ContainerSpec]] = {
    "nothing at all": spec_of,
    "another ring": lambda: of(rings=("production",)),
    "another component": lambda: of(components={"knowledge": "head"}),
    "another target": lambda: of(components={"memory_plugin": 1}),
    "parameters": lambda: of(parameters={"memory_plugin": {"dimension": 768}}),
    "the superuser over TCP": lambda: of(superuser_tcp=True),
    "an old pgvector accepted": lambda: of(allow_old_pgvector=True),
    "a minor release of podman": lambda: replace(spec_of(), podman="4.4.0"),
    "a recipe that made the same image": lambda: replace(spec_of(), image=replace(IMAGE, recipe="other")),
    "the image's name in the inventory": lambda: of(image=Image("sid")),
    "files in another order": lambda: replace(spec_of(), files=dict(reversed(restart_files(ACME).items()))),
}


@pytest.mark.parametrize("change", NEEDS_A_NEW_CONTAINER)
def test_the_fingerprint_changes_with_what_needs_a_new_container(change: str) -> None:
    assert NEEDS_A_NEW_CONTAINER[change]().hash != spec_of().hash


@pytest.mark.parametrize("change", NEEDS_NONE)
def test_the_fingerprint_stays_with_everything_else(change: str) -> None:
    assert NEEDS_NONE[change]().hash == spec_of().hash


def test_the_fingerprint_changes_with_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    small = PROFILES["small"]
    settings = {**small.settings, "maintenance_work_mem": "64MB"}  # the size of /dev/shm follows it
    bigger = Profile("bigger", small.rows, small.clients, "1g", small.temp_files, settings=settings)
    monkeypatch.setitem(PROFILES, "bigger", bigger)
    assert of(profile_name="bigger").hash != spec_of().hash


def test_two_tenants_never_share_a_fingerprint() -> None:
    assert replace(spec_of(), tenant=replace(ACME, name="globex")).hash != spec_of().hash


def test_the_arguments_are_plain_words_for_any_supervisor() -> None:
    words = spec_of().arguments()
    assert shlex.split(shlex.join(words)) == words
    assert all(word.startswith("--") for word in words[: words.index(IMAGE.id)])
    assert HOME in " ".join(words)
