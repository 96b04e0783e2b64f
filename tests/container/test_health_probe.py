"""What clients of a memory plugin notice of an interruption is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from pgberth.container.health_probe import PAUSE, HealthProbe
from tests.deploy.processes import eventually
from tests.deploy.site import free_port


@contextmanager
def plugin(port: int, status: int = 200) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_requests_that_find_nobody_or_an_ill_plugin_are_refused_and_the_gap_lasts_until_one_is_answered() -> None:
    port = free_port()
    probe = HealthProbe([("127.0.0.1", port)])
    with plugin(port), probe.running():
        assert eventually(lambda: probe.requests > 5)
    assert (probe.refused, probe.gap > 0) == (0, True)
    with ExitStack() as outlasts, probe.running():
        assert eventually(lambda: probe.refused > 3)
        nobody = probe.refused
        with plugin(port, 503):
            assert eventually(lambda: probe.refused > nobody + 3)
        outlasts.enter_context(plugin(port))
        assert eventually(lambda: not probe.open)
    assert 0 < probe.refused < probe.requests
    assert str(probe) == f"gap {probe.gap * 1000:.0f} ms, {probe.refused} refused of {probe.requests} requests"


def test_a_gap_that_is_not_over_at_the_end_is_counted_until_then_and_said() -> None:
    port = free_port()
    probe = HealthProbe([("127.0.0.1", port)])
    with probe.running():
        assert eventually(lambda: probe.refused > 5)
    assert (probe.open, probe.refused, probe.gap >= 5 * PAUSE) == (True, probe.requests, True)
    assert str(probe).startswith(f"gap of at least {probe.gap * 1000:.0f} ms, not over, ")
    with plugin(port), probe.running():
        pass
    assert (probe.open, str(probe).startswith("gap of")) == (False, False)


def test_a_plugin_that_gets_another_port_answers_on_either() -> None:
    former, port = free_port(), free_port()
    probe = HealthProbe([("127.0.0.1", former), ("127.0.0.1", port)])
    for place in (former, port):
        with plugin(place):
            probe.ask()
    assert (probe.requests, probe.refused, probe.open) == (2, 0, False)
