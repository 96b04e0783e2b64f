"""A client that asks a memory plugin for its health again and again, while a verb may interrupt it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pyinfra import host

from pgberth.connectors.tunnel import loopback
from pgberth.container.context import TenantContext
from pgberth.container.plugin_state import observe_plugin

PAUSE = 0.01  # seconds between two requests
_SECONDS = 3  # for one request


@dataclass
class HealthProbe:
    """
    + addresses: where the plugin answers on this side: on the port that it has, and on the one that it may get
    + requests: how many were sent; refused: those of them that were not answered with 200
    + gap: the longest time between two that were, in seconds
    + open: whether the last request was not answered: the gap lasts until then at least, and is not over
    """

    addresses: Sequence[tuple[str, int]]
    requests: int = 0
    refused: int = 0
    gap: float = 0.0
    open: bool = False
    _last: float = 0.0

    def __str__(self) -> str:
        gap = f"gap {'of at least ' if self.open else ''}{self.gap * 1000:.0f} ms{', not over' if self.open else ''}"
        return f"{gap}, {self.refused} refused of {self.requests} requests"

    def ask(self) -> None:
        """One request."""
        self.requests += 1
        answered = any(_answers(address) for address in self.addresses)
        now = time.monotonic()
        self.open = not answered
        self.gap = max(self.gap, now - self._last)
        if answered:
            self._last = now
        else:
            self.refused += 1

    @contextmanager
    def running(self) -> Iterator[HealthProbe]:
        """In the background, from one request before the body to one after it."""
        over = threading.Event()

        def keep_asking() -> None:
            while not over.wait(PAUSE):
                self.ask()

        self._last = time.monotonic()
        self.ask()
        worker = threading.Thread(target=keep_asking, daemon=True)
        worker.start()
        try:
            yield self
        finally:
            over.set()
            worker.join(2 * _SECONDS)
            self.ask()


def _answers(address: tuple[str, int]) -> bool:
    client = http.client.HTTPConnection(*address, timeout=_SECONDS)
    try:
        client.request("GET", "/v1/health")
        return client.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


@contextmanager
def plugin_watched(context: TenantContext) -> Iterator[None]:
    """What clients of a healthy memory plugin notice of the body is counted, and is in the receipt."""
    sidecar = context.tenant.sidecar
    plugin = observe_plugin(context.tenant) if sidecar is not None else None
    if sidecar is None or plugin is None or not plugin.healthy:
        yield
        return
    with ExitStack() as open_ports:
        ports = dict.fromkeys((plugin.port, sidecar.port))
        probe = HealthProbe([open_ports.enter_context(loopback(host, port)) for port in ports])
        try:
            with probe.running():
                yield
        finally:  # a run that fails says so, too
            _record(context, probe)


def _record(context: TenantContext, probe: HealthProbe) -> None:
    counted = {"requests": probe.requests, "refused": probe.refused, "gap_ms": round(probe.gap * 1000)}
    context.receipt.did["memory_plugin_probe"] = {**counted, "gap_is_over": not probe.open}
    page = "; runbooks/sidecar-unhealthy.md" if probe.open else ""
    context.receipt.notes.append(f"memory plugin: {probe}{page}")
