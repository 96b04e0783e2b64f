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
    told = ["acme", "acme_memory-plugin", "pgberth_acme_", str(port), "1", required, "pgberth-acme.service", "", "/h"]
    ran = machine.run(SCRIPT, *told, "sha256:ab", "/plugin", "--detach", "sha256:ab", "/plugin", stdin="")
    return ran.returncode, ran.stderr


@pytest.fixture
def podman(machine: FakePrograms) -> FakePrograms:
    secrets = "pgberth_acme_old\npgberth_acme-two_x\nsomebodys"
    answers = ("secret ls *", secrets, 0), ("logs *", "its last words", 0), ("run --rm *", "yes", 0)
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


def test_it_is_created_with_its_hooks_and_what_an_earlier_release_stored_goes_once_it_is_healthy(
    podman: FakePrograms, answering: tuple[int, int]
) -> None:
    port, status = answering
    start(podman, port, "no")
    asked = podman.asked()
    gone = ["pgberth_acme_old"] if status == 200 else []
    assert [words[2] for words in asked if words[:2] == ["secret", "rm"]] == gone
    assert ["rm", "--force", "--ignore", "--time", "10", "acme_memory-plugin"] in asked
    assert ["--hooks-dir=/h", "run", "--detach", "sha256:ab", "/plugin"] in asked


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [("no", 0, "has no program /plugin"), ("no such file", 127, "has no /bin/sh that runs")],
)
def test_what_it_needs_of_its_image_is_asked_before_anything_is_taken_away(
    podman: FakePrograms, answer: str, code: int, says: str
) -> None:
    podman.answer("podman", ("run --rm *", answer, code))
    ended, said = start(podman, free_port(), "no")
    assert (ended, says in said, "HINT: nothing was stopped or started" in said) == (1, True, True), said
    assert not [words for words in podman.asked() if words[0] in ("rm", "secret")]


def test_where_podman_does_not_run_it_nothing_is_waited_for(podman: FakePrograms) -> None:
    podman.answer("podman", ("run *", "", 125))
    assert start(podman, free_port(), "no")[0] == 1
