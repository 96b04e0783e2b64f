"""Bringing a memory plugin up: the script, on a machine whose podman only pretends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pgberth import commands
from pgberth.container.plugin_state import PluginState
from tests.deploy.site import free_port
from tests.fake_podman import FakePrograms

SCRIPT = commands.script("container/health.sh") + commands.script("container/start-sidecar.sh")


@pytest.fixture(params=[200, 503])
def answering(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """(port, status) of a plugin that always answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param if self.path == "/v1/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port, request.param
        server.shutdown()
        thread.join()


def start(machine: FakePrograms, port: int, required: str, unit: str = "") -> tuple[int, str]:
    told = ["acme", "acme_memory-plugin", "unread", str(port), "1", required, "pgberth-acme.service", unit, "/h"]
    ran = machine.run(SCRIPT, *told, "sha256:ab", "/plugin", "--detach", "sha256:ab", "/plugin", stdin="")
    return ran.returncode, ran.stderr


@pytest.fixture
def podman(machine: FakePrograms) -> FakePrograms:
    secrets = "pgberth_acme_old\npgberth_acme-two_x\nsomebodys"
    answers = (
        ("secret ls *", secrets, 0),
        ("logs *", "its last words", 0),
        ("run --rm *", "time=now level=warning", 0),
    )
    machine.answer("podman", *answers)
    return machine


@pytest.mark.parametrize("required", ["yes", "no"])
def test_a_required_plugin_must_be_healthy_and_another_need_not(
    required: str, podman: FakePrograms, answering: tuple[int, int]
) -> None:
    port, status = answering
    code, said = start(podman, port, required)
    if status == 200 or required == "no":
        assert (code, said) == (0, "")
    else:
        assert code == 1
        assert "acme: its memory plugin is not healthy after 1 s: HTTP/1.0 503 Service Unavailable" in said
        assert "its last words" in said
        assert "HINT: the server and its data are untouched; runbooks/sidecar-unhealthy.md" in said


def test_one_that_says_nothing_is_not_healthy(podman: FakePrograms) -> None:
    code, said = start(podman, free_port(), "yes")
    assert code == 1
    assert "not healthy after 1 s: no answer" in said


def test_it_is_created_with_its_hooks_and_has_read_its_url_once_it_started(podman: FakePrograms) -> None:
    (podman.home / "unread").touch()
    start(podman, free_port(), "no")
    asked = podman.asked()
    assert ["rm", "--force", "--ignore", "--time", "10", "acme_memory-plugin"] in asked
    assert ["--hooks-dir=/h", "run", "--detach", "sha256:ab", "/plugin"] in asked
    assert not (podman.home / "unread").exists()
    # A recycle may go back to a plugin of an earlier release, which needs its secrets.
    assert not [words for words in asked if words[0] == "secret"]


def test_what_an_earlier_release_stored_goes_and_what_is_anothers_stays(podman: FakePrograms) -> None:
    podman.run(commands.script("container/former-secrets.sh"), "pgberth_acme_")
    assert [words[2] for words in podman.asked() if words[:2] == ["secret", "rm"]] == ["pgberth_acme_old"]


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [("level=warning", 64, "has no program /plugin"), ("no such file", 127, "has no /bin/sh that runs")],
)
def test_what_it_needs_of_its_image_is_asked_before_anything_is_taken_away(
    podman: FakePrograms, answer: str, code: int, says: str
) -> None:
    podman.answer("podman", ("run --rm *", answer, code))
    ended, said = start(podman, free_port(), "no")
    assert (ended, says in said, "HINT: nothing was stopped or started" in said) == (1, True, True), said
    assert not [words for words in podman.asked() if words[0] in ("rm", "secret")]


@pytest.mark.parametrize("unit", ["", "plugin.service"], ids=["podman", "systemd"])
def test_where_it_does_not_start_nothing_is_waited_for_and_only_a_required_one_fails(
    podman: FakePrograms, unit: str
) -> None:
    podman.answer("podman", ("run --rm *", "", 0), ("*run *", "", 125))
    podman.answer("systemctl", ("--user start *", "", 1), ("--user status *", "its last lines", 0))
    (podman.home / "unread").touch()
    assert start(podman, free_port(), "no", unit) == (0, "")
    code, said = start(podman, free_port(), "yes", unit)
    assert code == 1
    says = "the unit pgberth-acme.service of its memory plugin did not start:" if unit else "podman does not start"
    assert f"acme: {says}" in said
    assert ("its last lines" in said) == bool(unit)
    assert "HINT: the server and its data are untouched; runbooks/sidecar-unhealthy.md" in said
    assert (podman.home / "unread").exists()


OBSERVE = commands.script("container/health.sh") + commands.script("container/observe-sidecar.sh")


@pytest.mark.parametrize(("exists", "code"), [(1, 0), (125, 1)], ids=["absent", "unreadable"])
def test_a_plugin_that_podman_cannot_inspect_is_not_taken_for_absent(
    machine: FakePrograms, exists: int, code: int
) -> None:
    machine.answer(
        "podman", ("image inspect *", "[]", 0), ("container inspect *", "[]", 125), ("* exists *", "", exists)
    )
    ran = machine.run(OBSERVE, "acme_memory-plugin", "localhost/plugin:1")
    assert ran.returncode == code


def test_the_health_is_asked_on_the_port_that_the_plugin_was_started_with(
    machine: FakePrograms, answering: tuple[int, int]
) -> None:
    port, status = answering
    text = json.dumps([{"HostConfig": {"PortBindings": {"9100/tcp": [{"HostPort": str(port)}]}}}], indent=1)
    machine.answer("podman", ("image inspect *", "[]", 0), ("container inspect *", text, 0))
    ran = machine.run(OBSERVE, "acme_memory-plugin", "localhost/plugin:1")
    found = PluginState.parse(ran.stdout.splitlines())
    assert (found.port, found.health.split()[1]) == (port, str(status))
