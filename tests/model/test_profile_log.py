"""The server's log has no line that a client without a password wrote."""

from __future__ import annotations

import socket

import pytest

from pgberth.model.profile import COMMON
from tests.postgres import running_server

FORGED = "2026-01-01 00:00:00.000 UTC [1] pgberth LOG:  forged"


def knock(port: int, **parameters: str) -> None:
    """A startup packet, as a client sends it before any password."""
    pairs = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    body = (196608).to_bytes(4) + pairs + b"\0"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall((len(body) + 4).to_bytes(4) + body)
        line.recv(1000)
        line.sendall(b"p" + (8).to_bytes(4) + b"abc\0")
        line.recv(1000)


@pytest.mark.parametrize("parameter", ["user", "database", "application_name"])
def test_a_client_without_a_password_writes_no_line_of_its_own(parameter: str) -> None:
    assert forged_lines(COMMON["log_line_prefix"], parameter) == 0


def test_a_prefix_with_the_clients_user_would_let_it() -> None:
    assert forged_lines("%m [%p] %q%u@%d %a ", "user") > 0


def forged_lines(prefix: str, parameter: str) -> int:
    chosen = {name: COMMON[name] for name in ("log_error_verbosity", "log_min_error_statement")}
    with running_server(18, {**chosen, "log_line_prefix": prefix}) as server:
        knock(server.port, **{"user": "memory_app_a", "database": "memory", parameter: f"x\n{FORGED}"})
        log = (server.home / "log").read_text()
    assert "FATAL:" in log  # of this client
    return sum(line.startswith(FORGED) for line in log.splitlines())
