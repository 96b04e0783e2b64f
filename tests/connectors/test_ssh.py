"""Hosts over SSH: their names, how commands get there, what is reported of a machine that is unreachable."""

from __future__ import annotations

import io
import shlex
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import Inventory, StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError

from pgberth.commands import as_account
from pgberth.connectors.channel import BEGIN, END
from pgberth.connectors.ssh import MachineConnector, RemoteTenantConnector
from pgberth.connectors.ssh_pool import SshPools, Unreachable
from pgberth.inventory import machine, tenant
from pgberth.model.problems import Problem
from pgberth.run import current_run

DB1 = machine("db1", ssh_hostname="10.0.0.1", ssh_user="ada", ssh_key="/keys/ada", sudo=True, account="svc")


def test_machine_and_tenant_have_their_bare_names() -> None:
    inventory = Inventory(([DB1.host, tenant("acme", on=DB1, port=5501)], {}))
    assert list(inventory.hosts) == ["db1", "acme"]
    assert [host.connector_cls for host in inventory.hosts.values()] == [MachineConnector, RemoteTenantConnector]
    assert {host.data.ssh_hostname for host in inventory.hosts.values()} == {"10.0.0.1"}
    assert {host.data.ssh_strict_host_key_checking for host in inventory.hosts.values()} == {"yes"}


@pytest.mark.parametrize("name", ["@machine-ssh", "@tenant-ssh"])
def test_a_host_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(InventoryError, match=f"{name} needs a name"):
        Inventory(([name], {}))


def sent_in(line: str) -> str:
    """What the shell of a login runs."""
    _, _, _, _, name, *words = shlex.split(line)
    assert name == "pgberth"
    return subprocess.run(["printf", "%b", "".join(words)], capture_output=True, text=True, check=True).stdout


class Channel:
    """A session that has already answered."""

    closed = False

    def __init__(self, out: str = "", err: str = "", code: int = 0, *, began: bool = True):
        self.out, self.err = (BEGIN + text.encode() + END if began else text.encode() for text in (out, err))
        self.code = code
        self.sent = ""
        self.stdin = io.BytesIO()
        self.pieces = 0

    def exec_command(self, text: str) -> None:
        self.sent = sent_in(text)

    def recv_exit_status(self) -> int:
        return self.code

    def recv(self, size: int) -> bytes:
        read, self.out = self.out[:size], self.out[size:]
        return read

    def recv_stderr(self, size: int) -> bytes:
        read, self.err = self.err[:size], self.err[size:]
        return read

    def shutdown(self, _: int) -> None: ...

    def sendall(self, data: bytes) -> None:
        self.stdin.write(data)
        self.pieces += 1

    def shutdown_write(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Way:
    """Stands in for an SshPool."""

    root, reported, forwards = True, False, True
    problem: Problem | None = None

    def __init__(self, *channels: Channel, problem: Problem | None = None, lost: Problem | None = None):
        self.channels = list(channels)
        self.problem = problem
        self.lost = lost
        self.dialled: list[int] = []

    def ensure_connected(self) -> None:
        if self.problem:
            raise Unreachable(self.problem)

    def session(self) -> Channel:
        self.ensure_connected()
        return self.channels.pop(0)

    def check(self, _: object = None) -> None:
        if self.lost:
            raise Unreachable(self.lost)

    def give_up(self, problem: Problem) -> Unreachable:
        self.problem = problem
        return Unreachable(problem)

    def dial(self, port: int, _: object) -> str | None:
        self.dialled.append(port)
        return "forward" if self.forwards else None


def connector(way: Any, *, of: type[MachineConnector] = MachineConnector, connected: bool = True) -> MachineConnector:
    inventory = Inventory(([DB1.host, tenant("acme", on=DB1, port=5501)], {}))
    state: Any = SimpleNamespace(cwd=None, private_keys={}, config=SimpleNamespace(CONNECT_TIMEOUT=10))
    name = "db1" if of is MachineConnector else "acme"
    inventory.hosts[name].print_prefix_padding = ""  # the command line's
    made = of(state, inventory.hosts[name])
    current_run().part(SshPools).by_login[made.login] = way
    made.pool = way if connected else None
    return made


def test_all_hosts_of_a_machine_log_in_as_one() -> None:
    assert connector(Way()).login == connector(Way(), of=RemoteTenantConnector).login


def test_a_command_comes_back_with_what_it_said_and_whether_it_went_well() -> None:
    channel = Channel("one\ntwo\n", "oh\n", 3)
    done, output = connector(Way(channel)).run_shell_command(StringCommand("echo"), _stdin="text\n", _sudo=True)
    assert (done, output.stdout_lines, output.stderr_lines) == (False, ["one", "two"], ["oh"])
    assert "exec sudo -H -n /bin/sh -c " in channel.sent
    assert channel.stdin.getvalue() == b"text\n"
    assert channel.closed


STDIN: list[tuple[Any, bytes]] = [
    (None, b""),
    ("one", b"one\n"),
    ("one\ntwo\n", b"one\ntwo\n"),
    (["one", "two\n"], b"one\ntwo\n"),
    (io.StringIO("one\ntwo"), b"one\ntwo\n"),
]


@pytest.mark.parametrize(("given", "arrives"), STDIN)
def test_standard_input_arrives_with_the_end_of_each_line(given: Any, arrives: bytes) -> None:
    channel = Channel()
    connector(Way(channel)).run_shell_command(StringCommand("cat"), _stdin=given)
    assert channel.stdin.getvalue() == arrives


def test_a_long_standard_input_does_not_travel_line_by_line() -> None:
    channel = Channel()
    connector(Way(channel)).run_shell_command(StringCommand("cat"), _stdin=io.StringIO("SELECT 1;\n" * 1000))
    assert (channel.stdin.getvalue(), channel.pieces) == (b"SELECT 1;\n" * 1000, 1)


def test_a_file_arrives_byte_for_byte_by_a_command_and_closed_to_others() -> None:
    channel, body = Channel(), bytes(range(256)) * 500
    assert connector(Way(channel)).put_file(io.BytesIO(body), "/var/cache/it's", _sudo=True)
    assert channel.stdin.getvalue() == body
    assert "exec sudo -H -n /bin/sh -c " in channel.sent
    assert "umask 077; cat > " in channel.sent


@pytest.mark.parametrize(
    "way", [Way(Channel(err="disk full", code=1)), Way(Channel(code=-1), lost=Problem("x")), Way(problem=Problem("x"))]
)
def test_a_file_that_does_not_arrive_is_a_failure(way: Way) -> None:
    assert not connector(way).put_file(io.BytesIO(b"text"), "/etc/x")


def test_a_file_comes_back_byte_for_byte_by_a_command() -> None:
    channel, arrived = Channel("text" * 50_000), io.BytesIO()
    assert connector(Way(channel)).get_file("/var/cache/x", arrived, _sudo=True)
    assert arrived.getvalue() == b"text" * 50_000
    assert "exec sudo -H -n /bin/sh -c " in channel.sent
    assert "cat /var/cache/x" in channel.sent


@pytest.mark.parametrize(
    "way",
    [
        Way(Channel(err="no such file", code=1)),
        Way(Channel("half", code=-1), lost=Problem("x")),
        Way(problem=Problem("x")),
    ],
)
def test_a_file_that_does_not_come_back_is_a_failure(way: Way) -> None:
    assert not connector(way).get_file("/etc/x", io.BytesIO())


def test_an_exit_code_that_is_expected_is_no_failure() -> None:
    assert connector(Way(Channel(code=3))).run_shell_command(StringCommand("x"), _success_exit_codes=[0, 3])[0]


def test_a_tenants_command_becomes_the_service_account_there() -> None:
    channel = Channel()
    acme = connector(Way(channel), of=RemoteTenantConnector)
    acme.run_shell_command(StringCommand("echo $HOME"), _sudo=False)
    become = as_account("svc", StringCommand("echo $HOME")).get_raw_value()
    assert channel.sent.startswith("set -- ")
    assert become.split()[-3] in channel.sent
    assert "svc" in channel.sent


def test_where_the_machine_is_lost_a_command_has_failed_with_the_reason_as_its_last_word() -> None:
    gone = Problem("db1: lost: no answer", "try by hand")
    way = Way(Channel(code=-1), lost=gone)
    done, output = connector(way).run_shell_command(StringCommand("x"))
    assert (done, output.stderr_lines) == (False, ["db1: lost: no answer", "HINT: try by hand"])


def test_a_command_that_was_killed_is_no_lost_machine() -> None:
    done, output = connector(Way(Channel("half", code=-1))).run_shell_command(StringCommand("x"))
    assert (done, output.stdout_lines) == (False, ["half"])


def test_a_machine_that_is_not_to_be_had_is_explained_once() -> None:
    way = Way(problem=Problem("db1: unreachable: no answer from ada@10.0.0.1:22", "is it up?"))
    with pytest.raises(ConnectError, match=r"db1: unreachable: no answer from ada@10\.0\.0\.1:22\nHINT: is it up"):
        connector(way, connected=False).connect()
    with pytest.raises(ConnectError, match=r"^db1 is unreachable; see the error above$"):
        connector(way, of=RemoteTenantConnector, connected=False).connect()


def test_sudo_that_asks_for_a_password_is_refused_before_anything_else_is_sent() -> None:
    said = "Welcome!\nNever tell anybody your password.\nsudo: a password is required\n"
    way = Way(Channel(err=said, code=1, began=False))
    way.root = False
    with pytest.raises(ConnectError) as refused:
        connector(way, connected=False).connect()
    assert str(refused.value).startswith("db1: sudo of ada@10.0.0.1:22 asks for a password, and a run cannot answer")
    assert "as root there: echo 'ada ALL=(ALL) NOPASSWD: ALL'" in str(refused.value)
    assert way.channels == []


def test_a_lock_is_held_for_as_long_as_its_channel() -> None:
    channel = Channel("held\n")
    acme = connector(Way(channel), of=RemoteTenantConnector)
    held, line = acme.acquire_lock(StringCommand("hold"))
    assert line == "held"
    assert held is not None
    assert not held.lapsed()
    channel.closed = True
    assert held.lapsed()
    done, output = acme.run_shell_command(StringCommand("touch"))
    assert (done, output.stderr_lines[0][:25]) == (False, "acme: its lock is lost: t")


def test_a_lock_that_is_taken_is_not_held() -> None:
    assert connector(Way(Channel("busy ada\n"))).acquire_lock(StringCommand("hold")) == (None, "busy ada")


def test_where_the_machine_is_lost_nothing_is_held() -> None:
    assert connector(Way(problem=Problem("db1: lost"))).acquire_lock(StringCommand("hold")) == (None, "db1: lost")


def test_a_port_is_reached_through_sshd_s_own_forward_or_a_command_that_does_the_same() -> None:
    way, bridge = Way(Channel()), Channel()
    assert connector(way).dial(5501, ("127.0.0.1", 1)) == "forward"
    shut = Way(bridge)
    shut.forwards = False
    bridge.out = b"Welcome!\n" + BEGIN + b"R\0\xff" + END
    assert connector(shut).dial(5501, ("127.0.0.1", 1)).recv(9) == b"R\0\xff"
    assert "/dev/tcp/127.0.0.1/" in bridge.sent
    assert "5501" in bridge.sent


def test_a_host_that_was_never_connected_says_so() -> None:
    with pytest.raises(ConnectionError, match="db1: port 5501: db1: not connected over SSH"):
        connector(Way(), connected=False).dial(5501, ("127.0.0.1", 1))


def test_whether_sudo_makes_root_is_asked_of_the_login_since_the_account_may_not_exist_yet() -> None:
    channel = Channel()
    way = Way(channel)
    way.root = False
    connector(way, of=RemoteTenantConnector, connected=False).connect()
    assert "svc" not in channel.sent
    assert way.root


def test_a_login_that_runs_no_command_of_ours_is_a_failure_with_what_it_said_whatever_its_exit_code() -> None:
    channel = Channel("This account is currently not available.\n", code=0, began=False)
    done, output = connector(Way(channel)).run_shell_command(StringCommand("true"))
    assert not done
    assert output.stdout == ""
    assert output.stderr_lines[0].startswith("db1: the shell of ada@10.0.0.1:22 ran no command of ours; it said: This")
    assert output.stderr_lines[1].startswith("HINT: ")


def test_why_a_lock_cannot_be_taken_is_the_commands_own_word() -> None:
    channel = Channel(err="account 'svc' does not exist on this machine\n", code=1)
    channel.out, channel.err = b"Welcome!\n" + channel.out, b"stdin: is not a tty\n" + channel.err
    answer = connector(Way(channel)).acquire_lock(StringCommand("hold"))
    assert answer == (None, "account 'svc' does not exist on this machine")
