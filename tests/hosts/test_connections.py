"""What goes over SSH: shared connections, logins that are refused, a machine that forwards no port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.product import Inventory, Run
from tests.hosts.fleet import ACCOUNT, TenantContext, inventory, provisioned
from tests.hosts.host import Boot, Host
from tests.hosts.keys import Keys

TENANTS = 20
_CONF = "/etc/ssh/sshd_config.d/00-test.conf"


@pytest.fixture(scope="module")
def host(module_hosts: Boot) -> Host:
    """A machine with a service account and no tenant, and two operators: ada may become root, grace has a password."""
    booted = module_hosts("door")
    booted.run(f"useradd --create-home {ACCOUNT}")
    booted.run("useradd --create-home ada && useradd --create-home --groups sudo grace")
    booted.run("echo 'ada ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ada")
    for user in ("ada", "grace"):
        booted.admit(user)
    return booted


@contextmanager
def sshd(host: Host, lines: str) -> Iterator[None]:
    """sshd with more lines in its configuration."""
    host.run(f"printf '%s\\n' '{lines}' > {_CONF} && systemctl reload ssh")
    host.ready()
    try:
        yield
    finally:
        host.run(f"rm {_CONF} && systemctl reload ssh")
        host.ready()


def tenants(host: Host, number: int = 2) -> list[TenantContext]:
    return [TenantContext(f"t{count}", host, 5500 + count) for count in range(number)]


def logins(host: Host) -> int:
    """How often somebody has been let in since the boot."""
    return host.run("journalctl --boot --unit ssh --no-pager").out.count("Accepted publickey")


def untouched(host: Host) -> str:
    """What a deploy changes first on a machine."""
    return host.run("stat --format=%y /etc /etc/passwd /home/pgberth /etc/subuid; dpkg -l | sha256sum").out


def test_twenty_tenants_of_one_machine_share_a_handful_of_connections(host: Host, tmp_path: Path) -> None:
    fleet = inventory(tmp_path, tenants(host, TENANTS))
    before = logins(host)
    fleet.status("--limit", "canary").went_well()
    for_a_look = logins(host) - before
    # Limited to the tenants the machine is not made ready. Each takes its lock, keeps it, and is then refused.
    refused = fleet.provision("--limit", "canary").failed()
    assert all(refused.line(f"t{number}: ", "not ready") for number in range(TENANTS)), refused.err
    operation = "--> Starting operation: "  # its name may have the word, too
    assert [line for line in refused.said.splitlines() if "lock" in line and not line.startswith(operation)] == []
    assert for_a_look <= 3
    # A lock and a command of each, eight over one connection.
    assert logins(host) - before - for_a_look <= 5


def test_an_sshd_that_takes_two_commands_a_connection_is_obeyed(host: Host, tmp_path: Path) -> None:
    with sshd(host, "MaxSessions 2"):
        inventory(tmp_path, tenants(host, 5)).status("--limit", "canary").went_well()


def refused_before_anything_is_touched(host: Host, fleet: Inventory) -> Run:
    before = untouched(host)
    refused = fleet.provision().failed()
    assert untouched(host) == before
    assert refused.line("t0 ", "UNREACHABLE"), refused.err
    assert refused.line("t1 ", "UNREACHABLE"), refused.err
    assert refused.line("HINT: ", "ssh -p 22", f"@{host.address} "), refused.err
    return refused


def test_a_host_key_that_is_not_known_is_refused(host: Host, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    fleet = inventory(tmp_path, tenants(host), ssh_known_hosts_file=str(known))
    refused = refused_before_anything_is_touched(host, fleet)
    assert refused.said.count("door: unreachable: the host key of") == 1 + 3  # once, and in the closing lines
    assert known.read_text() == ""


def test_a_host_key_that_is_another_is_refused(host: Host, tmp_path: Path) -> None:
    known, other = tmp_path / "known_hosts", tmp_path / "other"
    other.mkdir()
    known.write_text(f"{host.address} {Keys.made(other).public}\n")
    fleet = inventory(tmp_path, tenants(host), ssh_known_hosts_file=str(known))
    refused = refused_before_anything_is_touched(host, fleet)
    assert refused.line("door: unreachable:", "has another host key than known_hosts says"), refused.err


def test_a_key_that_the_machine_does_not_take_is_refused(host: Host, tmp_path: Path) -> None:
    fleet = inventory(tmp_path, tenants(host), ssh_key=str(Keys.made(tmp_path).private))
    refused = refused_before_anything_is_touched(host, fleet)
    assert refused.line("door: unreachable:", "refuses the login with"), refused.err


def test_sudo_that_asks_for_a_password_is_refused_and_nobody_is_asked(host: Host, tmp_path: Path) -> None:
    fleet = inventory(tmp_path, tenants(host), ssh_user="grace", sudo=True)
    refused = refused_before_anything_is_touched(host, fleet)
    assert refused.line("door: sudo of grace@", "asks for a password"), refused.err


def test_sudo_is_enough_and_so_is_an_sshd_that_lets_neither_root_in_nor_forwards_a_port(
    host: Host, tmp_path: Path, measured: dict[str, float]
) -> None:
    fleet = inventory(tmp_path, tenants(host), ssh_user="ada", sudo=True)
    with sshd(host, "PermitRootLogin no\nAllowTcpForwarding no"):
        measured["a fresh machine through sudo, without port forwarding, to two proven tenants"] = provisioned(
            fleet
        ).seconds
        fleet.verify().went_well()
        fleet.provision().changed_nothing()
    # As root they are the same tenants.
    inventory(tmp_path, tenants(host)).provision().changed_nothing()
