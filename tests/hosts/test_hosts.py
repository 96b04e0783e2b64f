from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts import needs
from tests.hosts.commands import Failed, call, wait_for
from tests.hosts.host import Boot, Host
from tests.hosts.keys import Keys
from tests.hosts.room import Room, opened_room, sweep
from tests.hosts.traces import inside, left_by, processes, traces

_REPO = Path(__file__).resolve().parents[2]

# What a machine needs so that user units of podman do not wait for it: somebody who wants the target, now and at boot.
_REMEDY = "systemctl add-wants multi-user.target network-online.target && systemctl start network-online.target"
_TINY_IMAGE = """set -e
mkdir -p tiny/bin && cp "$(command -v busybox)" tiny/bin/ && tar -C tiny -c . | podman import --quiet - localhost/tiny
rm -r tiny
"""
_QUADLET = """[Container]
Image=localhost/tiny
Pull=never
Exec=/bin/busybox sleep 100000
StopTimeout=1
Volume=tiny.volume:/data

[Install]
WantedBy=default.target
"""


@pytest.fixture(scope="module")
def host(module_hosts: Boot, measured: dict[str, float]) -> Host:
    """A host that no test may leave changed but for its files."""
    booted = module_hosts("alpha")
    measured["boot, to an answer over ssh"] = booted.booted_in
    return booted


def test_a_host_boots_in_seconds_and_lets_the_run_s_key_in(host: Host) -> None:
    assert host.booted_in < 60  # 2 where nothing else runs
    assert host.ssh("hostname; id -un; echo $XDG_RUNTIME_DIR").out.split() == ["alpha", "root", "/run/user/0"]
    assert host.ssh("systemctl is-system-running").out == "running\n"
    assert host.ssh("cat; exit 3", stdin="over the line", check=False).said == "over the line"


def test_ssh_speaks_to_no_host_with_another_key(host: Host, tmp_path: Path) -> None:
    somebody = Keys.made(tmp_path)
    host.keys.know(host.address, somebody.public)
    try:
        with pytest.raises(Failed, match="Host key verification failed"):
            host.ssh("true")
    finally:
        host.ready()
    assert host.ssh("true").code == 0


def test_two_hosts_are_two_machines(host: Host, hosts: Boot) -> None:
    other = hosts("beta")
    for what in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub", "hostname --all-ip-addresses"):
        assert host.run(what).out != other.run(what).out
    assert other.run(f"bash -c 'exec 3<>/dev/tcp/{host.address}/22; head -c 7 <&3'").out == "SSH-2.0"


def test_a_reboot_keeps_files_and_address(host: Host, measured: dict[str, float]) -> None:
    host.run("echo volume > /home/kept; echo disk > /root/kept; touch /run/gone /tmp/gone /dev/shm/gone")
    measured["reboot"] = host.reboot()
    assert host.ssh("cat /home/kept /root/kept").out.split() == ["volume", "disk"]
    assert host.ssh("find /run/gone /tmp/gone /dev/shm/gone", check=False).out == ""
    assert host.address in host.ssh("hostname --all-ip-addresses").out


def test_a_powered_off_host_answers_nobody_until_it_is_on_again(host: Host, measured: dict[str, float]) -> None:
    host.run("echo written > /home/written")
    started = time.monotonic()
    host.power_off()
    measured["power off"] = time.monotonic() - started
    with pytest.raises(Failed, match=r"No route to host|timed out"):
        host.ssh("true", timeout=5)
    with pytest.raises(Failed, match="powered off"):
        host.cut_network()
    measured["power on"] = host.power_on()
    assert host.ssh("cat /home/written").out == "written\n"


def test_a_cut_network_is_silent_and_heals(host: Host) -> None:
    waits = host.ssh_command("touch /run/waits; until test -e /run/told; do sleep 0.1; done; echo through")
    with subprocess.Popen(waits, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as open_connection:
        wait_for("the connection", lambda: host.run("find /run/waits", check=False).err, 60)
        with _cut(host):
            started = time.monotonic()
            with pytest.raises(Failed, match="Connection timed out"):
                host.ssh("true", timeout=2)
            assert time.monotonic() - started > 1.5  # silence is waited out; a refusal would come at once
            host.run("touch /run/told")
            time.sleep(0.5)
            assert open_connection.poll() is None
        assert open_connection.communicate(timeout=60)[0] == "through\n"
    assert host.ssh("echo back").out == "back\n"


@contextmanager
def _cut(host: Host) -> Iterator[None]:
    host.cut_network()
    try:
        yield
    finally:
        host.restore_network()


def test_a_lingering_account_runs_rootless_containers_and_quadlets(host: Host, measured: dict[str, float]) -> None:
    host.run("useradd --create-home --shell /bin/sh berth && loginctl enable-linger berth")
    host.admit("berth")
    wait_for("the account's manager", lambda: _state(host, "default.target"), 60)
    assert host.ssh("echo $XDG_RUNTIME_DIR", "berth").out == host.ssh("echo /run/user/$(id -u berth)").out

    host.run(_TINY_IMAGE, "berth")
    started = time.monotonic()
    assert host.ssh("podman run --rm localhost/tiny /bin/busybox id -u", "berth").out == "0\n"
    measured["first rootless container"] = time.monotonic() - started
    facts = host.ssh("podman info --format '{{.Store.GraphDriverName}} {{.Host.Security.Rootless}}'", "berth").out
    assert facts == "overlay true\n"

    place = "$HOME/.config/containers/systemd"
    host.ssh(f"mkdir -p {place} && cat > {place}/tiny.container", "berth", stdin=_QUADLET)
    host.ssh(f"printf '[Volume]\\n' > {place}/tiny.volume && systemctl --user daemon-reload", "berth")

    # The trap: nothing on the host wants network-online.target, so that the unit would wait 90 seconds at each start.
    host.ssh("systemctl --user start --no-block tiny.service", "berth")
    time.sleep(2)
    assert _state(host, "tiny.service")
    assert "podman-user-wait-network-online.service" in host.run("systemctl --user list-jobs", "berth").out

    measured["Quadlet unit, from network-online.target on"] = _seconds_to_active(host, _REMEDY, "root")
    measured["Quadlet unit, restarted"] = _seconds_to_active(host, "systemctl --user restart tiny.service", "berth")
    measured["reboot of a host with a Quadlet unit"] = host.reboot()
    started = time.monotonic()
    wait_for("tiny.service after a reboot", lambda: _state(host, "tiny.service"), 60)
    measured["... from ssh to the unit active by itself"] = time.monotonic() - started
    assert "systemd-tiny" in host.ssh("podman ps --format '{{.Names}}'", "berth").out


def _state(host: Host, unit: str) -> str:
    """ "" for an active unit of the account, otherwise what it is."""
    said = host.run(f"systemctl --user is-active {unit}", "berth", check=False).said.strip()
    return "" if said == "active" else said or "no answer"


def _seconds_to_active(host: Host, command: str, user: str) -> float:
    started = time.monotonic()
    host.ssh(command, user)
    wait_for("tiny.service", lambda: _state(host, "tiny.service"), 60)
    return time.monotonic() - started


def test_nothing_is_left_of_a_destroyed_host_and_of_a_closed_room(host: Host, measured: dict[str, float]) -> None:
    before = traces()
    with opened_room() as room:
        gone = room.boot("gone")
        container = room.podman("container", "inspect", "--format={{.Id}}", gone.container).out.strip()
        assert len(inside(container)) > 5
        assert processes(room.name)
        kinds = {trace.partition(" ")[0] for trace in traces() - before}
        assert {"container", "volume", "network", "mount", "link", "rule", "control", "run"} <= kinds
        started = time.monotonic()
        gone.destroy()
        measured["destroy"] = time.monotonic() - started
        assert inside(container) == []
        assert gone.address not in room.keys.known_hosts.read_text()
        again = room.boot("gone")
        assert again.ssh("hostname").out == "gone\n"
        room.dismiss(again)  # and the name is free once it has left
        assert room.boot("gone").ssh("hostname").out == "gone\n"
    assert left_by(room.name, before) == set()
    assert processes(room.name) == []
    assert not Path(f"/proc/{room.podman.pid}").exists()
    assert host.ssh("true").code == 0


# A run of its own: says its room, boots a host, and then stays until it is ended.
# It polls: a signal that arrives just before a read that waits would be seen only when the read ends.
_RUN = """
import select, sys
from tests.hosts.room import opened_room
with opened_room() as room:
    print(room.name, flush=True)
    room.boot("gone")
    print("booted", flush=True)
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        pass
"""


@pytest.mark.sampled(1)
@pytest.mark.parametrize("booted", [True, False], ids=["booted", "booting"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_nothing_is_left_of_a_run_that_was(number: signal.Signals, booted: bool, room: Room) -> None:
    before = traces()
    with subprocess.Popen(
        [sys.executable, "-c", _RUN], cwd=_REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        name = run.stdout.readline().strip()
        if booted:
            assert run.stdout.readline() == "booted\n"
        else:
            delay = random.uniform(0, 1.5)  # noqa: S311  (any moment will do)
            print(f"{number.name} after {delay:.3f} s of booting")
            time.sleep(delay)
        run.send_signal(number)
        run.wait(60)
    if number == signal.SIGKILL:
        # What the killed run had podman doing goes on to its end, as a command of a killed shell does.
        wait_for("its last command", lambda: "\n".join(line for line in processes(name) if " podman --" in line), 60)
        assert left_by(name, before)
        sweep()
    assert left_by(name, before) == set()
    assert processes(name) == []


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(needs.Unfit, match="root"):
        needs.provide()


def test_a_machine_without_packages_and_apt_get_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(needs.Unfit, match=r" iptables .* podman .*, and there is no apt-get"):
        needs.provide()


def test_a_command_that_does_not_end_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(Failed, match=r"sh -c sleep 60; true: did not end within 0.2 s"):
        call("sh", "-c", "sleep 60; true", timeout=0.2)
    assert time.monotonic() - started < 30
