"""A tunnel to a port that listens only on the loopback of a tenant's machine."""

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

    Locally it is that port itself. Over SSH the tunnel uses the connections that the machine's hosts share: no second
    login, host keys checked. A client is disconnected where nothing listens at the other end.
    """
    if not isinstance(host.connector, SSHConnector):
        yield "127.0.0.1", port
        return
    connector: Any = host.connector  # one of ours: the inventory creates no others

    def forward(connection: socket.socket, peer: tuple[str, int]) -> None:
        try:
            channel = connector.dial(port, peer)
        except OSError:
            connection.close()
            return
        with closing(channel):
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
    """Copy one direction until its end, and pass the end on."""
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except (OSError, EOFError):
        # One side disconnected; the session that uses the tunnel reports what that means for it.
        sink.close()
