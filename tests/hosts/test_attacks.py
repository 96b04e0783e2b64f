"""A host's other accounts, and the credentials of other tenants, get nowhere: on each podman's default networking."""

from __future__ import annotations

import sys

import pytest

from tests.hosts.commands import Ended, call
from tests.hosts.fleet import ACCOUNT
from tests.hosts.host import Host
from tests.hosts.standing import Place

STRANGER = "mallory"
TENANT = "/home/pgberth/.local/share/pgberth/tenants/one"
# Arguments: the port, the role, the database; the password on stdin.
_LOGIN = """import psycopg, sys
port, user, database = sys.argv[1:]
told = {"password": sys.stdin.read()}
try:
    psycopg.connect(host="127.0.0.1", port=port, user=user, dbname=database, connect_timeout=10, **told).close()
except psycopg.OperationalError as error:
    sys.exit(str(error))
print("in")
"""


def login(host: Host, port: int, user: str, password: str, database: str = "memory") -> Ended:
    """From the host's own loopback, where any account of it could come from."""
    pid = host.podman("container", "inspect", "--format={{.State.Pid}}", host.container).out.strip()
    inside = ("nsenter", f"--target={pid}", "--net", "--", sys.executable, "-c", _LOGIN)
    return call(*inside, str(port), user, database, stdin=password, check=False)


def password(place: Place, tenant: str, kind: str) -> str:
    command = f"cat .local/share/pgberth/tenants/{tenant}/secrets/{kind}-v*"
    return place.berths[0].host.run(command, ACCOUNT).out.strip()


@pytest.fixture
def stranger(place: Place) -> str:
    """An account of the host without any right of its own."""
    place.berths[0].host.run(f"id {STRANGER} 2>/dev/null || useradd --create-home {STRANGER}")
    return STRANGER


def test_the_app_s_own_password_is_let_in_so_that_what_follows_proves_something(place: Place) -> None:
    one, two = place.berths
    for context in (one, two):
        assert login(context.host, context.port, "memory_app_a", password(place, context.name, "app")).out == "in\n"


@pytest.mark.sampled(12)
@pytest.mark.parametrize("kind", ["app", "migrator", "monitor", "superuser"])
@pytest.mark.parametrize("user", ["memory_app_a", "memory_migrator", "memory_monitor"])
def test_another_tenant_s_password_opens_nothing(place: Place, user: str, kind: str) -> None:
    one = place.berths[0]
    refused = login(one.host, one.port, user, password(place, "two", kind))
    assert (refused.code, "password authentication failed" in refused.err) == (1, True), refused.said


@pytest.mark.parametrize("user", ["memory_app_a", "memory_app_b", "memory_migrator", "memory_monitor"])
def test_nobody_comes_in_without_a_password(place: Place, user: str) -> None:
    refused = login(place.berths[0].host, place.berths[0].port, user, "")
    assert refused.code == 1
    assert "no password supplied" in refused.err or "password authentication failed" in refused.err, refused.said


@pytest.mark.sampled(12)
@pytest.mark.parametrize("database", ["memory", "postgres", "template1"])
@pytest.mark.parametrize("user", ["postgres", "memory_owner", "memory_app", "root"])
def test_roles_that_nobody_logs_in_as_are_rejected_with_the_superuser_s_own_password_too(
    place: Place, user: str, database: str
) -> None:
    refused = login(place.berths[0].host, place.berths[0].port, user, password(place, "one", "superuser"), database)
    assert (refused.code, "pg_hba.conf rejects connection" in refused.err) == (1, True), refused.said


@pytest.mark.parametrize(
    "command",
    [
        f"cat {TENANT}/secrets/app-v1",
        f"cat {TENANT}/connection.env",
        f"cat {TENANT}/passfile",
        f"ls {TENANT}",
        "cat /proc/$(pgrep -o -u pgberth postgres)/environ",
        "ls /proc/$(pgrep -o -u pgberth postgres)/root/run/postgresql",
        "ls /home/pgberth/.local/share/containers/storage",
        f"touch {TENANT}/spec.json",
        "kill $(pgrep -o -u pgberth postgres)",
    ],
)
def test_another_account_of_the_host_reads_and_ends_nothing(place: Place, stranger: str, command: str) -> None:
    host = place.berths[0].host
    assert host.run("pgrep -o -u pgberth postgres", stranger).out.strip().isdigit()
    refused = host.run(command, stranger, check=False)
    assert refused.code != 0, refused.said
    assert "ermission denied" in refused.said or "not permitted" in refused.said, refused.said


def test_a_tenant_listens_on_loopback_alone(place: Place) -> None:
    one = place.berths[0]
    bound = one.host.run("ss -Hltn").out
    assert f"127.0.0.1:{one.port} " in bound
    assert f"0.0.0.0:{one.port}" not in bound
    assert f"*:{one.port}" not in bound
    assert f"[::]:{one.port}" not in bound
