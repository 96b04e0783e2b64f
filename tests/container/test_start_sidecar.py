"""Bringing a memory plugin up: the script, on a machine whose podman only pretends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pgberth import commands
from tests.deploy.site import free_port
from tests.fake_podman import FakePrograms

SCRIPT = commands.script("container/health.sh") + commands.script("container/start-sidecar.sh")
URL = "postgresql://app:hunter2@h/d"
NEW = "pgberth_acme_new"


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


def start(machine: FakePrograms, port: int, required: str) -> tuple[int, str]:
    told = ["acme", "acme_memory-plugin", NEW, "pgberth_acme_", str(port), "1", required, "pgberth-acme.service", ""]
    ran = machine.run(SCRIPT, *told, "--detach", "sha256:ab", "/plugin", stdin=f"{URL}\n")
    assert "hunter2" not in ran.stdout + ran.stderr
    return ran.returncode, ran.stderr


@pytest.fixture
def podman(machine: FakePrograms) -> FakePrograms:
    secrets = f"pgberth_acme_old\n{NEW}\npgberth_acme-two_x\nsomebodys"
    machine.answer("podman", ("secret inspect *", "", 1), ("secret ls *", secrets, 0), ("logs *", "its last words", 0))
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


def test_the_secret_is_created_again_and_only_the_tenants_own_previous_ones_go(podman: FakePrograms) -> None:
    start(podman, free_port(), "no")
    asked = podman.asked()
    assert ["secret", "create", NEW, "-"] in asked
    assert [words[2] for words in asked if words[:2] == ["secret", "rm"]] == ["pgberth_acme_old"]
    assert ["rm", "--force", "--ignore", "--time", "10", "acme_memory-plugin"] in asked
    assert ["run", "--detach", "sha256:ab", "/plugin"] in asked
    assert not [words for words in asked if any("hunter2" in word for word in words)]


def test_where_podman_does_not_run_it_nothing_is_waited_for(podman: FakePrograms) -> None:
    podman.answer("podman", ("run *", "", 125))
    assert start(podman, free_port(), "no")[0] == 1
