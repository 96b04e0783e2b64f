"""The way to a port that listens on the tenant machine's loopback only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import gevent
from gevent.server import StreamServer
from pyinfra.connectors.ssh import SSHConnector

_CHUNK = 65536  # bytes


@contextmanager
def loopback(host: Any, port: int) -> Iterator[tuple[str, int]]:
    """
    An address on this side that leads to 127.0.0.1:port on the host.

    Locally it is that port itself. Over SSH it is a forward through the transport pyinfra already holds: no second
    login, host keys checked. The target's sshd must allow TCP forwarding.
    """
    if not isinstance(host.connector, SSHConnector):
        yield "127.0.0.1", port
        return
    client = host.connector.client
    transport = client.get_transport() if client is not None else None
    if transport is None:
        raise ConnectionError(f"{host.name}: not connected over SSH")

    def forward(connection: socket.socket, peer: tuple[str, int]) -> None:
        with closing(transport.open_channel("direct-tcpip", ("127.0.0.1", port), peer)) as channel:
            back = gevent.spawn(_pump, channel, connection)
            _pump(connection, channel)
            back.join()

    server = StreamServer(("127.0.0.1", 0), forward)
    server.start()
    try:
        yield "127.0.0.1", int(server.server_port or 0)
    finally:
        server.stop(timeout=1)


def _pump(source: Any, sink: Any) -> None:
    """Copy one direction until its end, then say so to the other side."""
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except (OSError, EOFError):
        # One side hung up; the session above reports what that means for it.
        sink.close()
