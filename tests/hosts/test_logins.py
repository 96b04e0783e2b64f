"""A machine whose login speaks, in tcsh, through sudo, without the service account: as good as a quiet one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.product import Inventory
from tests.hosts.fleet import ACCOUNT, TenantContext, inventory, provisioned
from tests.hosts.host import Boot, Host

_LOUD = "setenv LC_ALL xx_YY.UTF-8\necho Welcome\nsh -c 'echo stdin: is not a tty >&2'\n"
_BASHRC = "export LC_ALL=xx_YY.UTF-8\necho Welcome\nprintf 'no end of line' >&2\n"


@pytest.fixture(scope="module")
def host(module_hosts: Boot) -> Host:
    """A fresh machine. ada's shell is tcsh and root's is bash; both greet on both streams, and so does sudo."""
    booted = module_hosts("loud")
    booted.run("apt-get -qq update && apt-get -qq install --yes --no-install-recommends tcsh", timeout=300)
    booted.run("useradd --create-home --shell /bin/tcsh ada")
    booted.run("echo 'ada ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ada")
    booted.admit("ada")
    booted.run("cat > /home/ada/.tcshrc", stdin=_LOUD)
    booted.run("cat > /root/.bashrc", stdin=_BASHRC)
    # sudo says so of a host name that cannot be resolved.
    booted.run("hostname nowhere-to-be-found")
    return booted


@pytest.fixture(scope="module")
def fleet(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    berth = TenantContext("acme", host, 5501)
    loud = inventory(tmp_path_factory.mktemp("loud"), [berth], ssh_user="ada", sudo=True)
    assert host.run(f"id {ACCOUNT}", check=False).code
    provisioned(loud)
    return loud


def test_the_login_is_as_loud_as_it_is_meant_to_be(host: Host) -> None:
    said = host.ssh("sudo -n true", "ada")
    assert said.out.startswith("Welcome\n")
    assert "is not a tty" in said.err
    assert "unable to resolve host" in said.err
    assert host.ssh("true").said.startswith("Welcome\n")


def test_a_second_run_finds_nothing_to_do_and_verify_is_green(fleet: Inventory) -> None:
    fleet.provision().changed_nothing()
    fleet.verify().went_well()


def test_recycle_and_rotate_are_green(fleet: Inventory) -> None:
    fleet.verb("recycle").went_well()
    fleet.verb("rotate", "--limit", "acme").went_well()


def test_what_is_said_is_the_same_as_of_a_quiet_login(host: Host, fleet: Inventory) -> None:
    loud = fleet.status().went_well()
    for home in ("/home/ada/.tcshrc", "/root/.bashrc"):
        host.run(f"mv {home} {home}.loud")
    try:
        host.run("usermod --shell /bin/sh ada && hostname loud")
        quiet = fleet.status().went_well()
    finally:
        host.run("usermod --shell /bin/tcsh ada && hostname nowhere-to-be-found")
        for home in ("/home/ada/.tcshrc", "/root/.bashrc"):
            host.run(f"mv {home}.loud {home}")
    assert lines(loud.said) == lines(quiet.said)
    assert "Welcome" not in loud.said


def lines(text: str) -> list[str]:
    """Without times, and in no order: hosts connect beside each other."""
    timeless = re.sub(r"\b\d+\.\d+$|\b\d+(\.\d+)? ?(s|ms|minutes?|seconds?)\b", "N", text, flags=re.MULTILINE)
    return sorted(" ".join(line.split()) for line in timeless.splitlines())


def test_root_s_own_bashrc_is_not_heard_either(host: Host, tmp_path: Path) -> None:
    run = inventory(tmp_path, [TenantContext("acme", host, 5501)]).provision().changed_nothing()
    assert "Welcome" not in run.said
