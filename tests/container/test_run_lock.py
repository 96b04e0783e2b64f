"""One operator works on a tenant at a time: who holds its run lock, and when it is free again."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.connectors.lease import STALE
from pgberth.connectors.ssh_pool import SILENT
from pgberth.container import run_lock as lock
from pgberth.container.context import TenantContext
from pgberth.model import layout
from pgberth.report.receipt import Receipt
from pgberth.run import current_run
from tests.fake_host import FakeHost, Sent, as_sent, sent
from tests.fake_podman import FakePrograms
from tests.sample import ACME

HOLD = commands.script("container/hold.sh")


class Operator:
    """Somebody's run: it holds the lock until it ends, however it ends."""

    def __init__(self, machine: FakePrograms, who: str, wait: int = 1, tenant: str = "acme", lapse: float = 60):
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", HOLD, "x", "locks", tenant, who, str(wait), str(lapse)],
            cwd=machine.home,
            env={"PATH": f"{machine.home}/.tools:{os.environ['PATH']}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def beat(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(".")
        self.process.stdin.flush()

    def ended(self) -> str:
        self.end()
        return self.said

    def end(self) -> None:
        self.process.communicate()

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def test_the_first_operator_holds_the_tenant_and_the_second_is_told_who_does(machine: FakePrograms) -> None:
    with Operator(machine, "ada@db1 since noon (provision)") as first, Operator(machine, "grace") as second:
        assert first.said == "held"
        assert second.said == "busy ada@db1 since noon (provision)"


def test_another_tenant_is_in_nobodys_way(machine: FakePrograms) -> None:
    with Operator(machine, "ada") as first, Operator(machine, "grace", tenant="globex") as second:
        assert (first.said, second.said) == ("held", "held")


def test_the_tenant_is_free_when_its_operator_ends_and_when_it_is_killed(machine: FakePrograms) -> None:
    first = Operator(machine, "ada")
    first.end()
    killed = Operator(machine, "grace")
    assert killed.said == "held"
    killed.process.kill()  # as far as the machine can tell, the operator's end of the pipe closes
    killed.end()
    with Operator(machine, "lin", wait=5) as next_one:
        assert next_one.said == "held"


def test_an_operator_who_falls_silent_loses_the_tenant_and_one_who_does_not_keeps_it(machine: FakePrograms) -> None:
    # Nothing comes from a machine that was cut off, and no end either.
    with Operator(machine, "ada", lapse=1) as silent, Operator(machine, "grace", wait=30) as second:
        assert (silent.said, second.said) == ("held", "held")
        assert silent.process.wait(10) == 0
    with Operator(machine, "ada", lapse=1) as alive:
        waiting = threading.Thread(target=lambda: denied.append(Operator(machine, "grace", wait=3).ended()))
        denied: list[str] = []
        waiting.start()
        while waiting.is_alive():
            alive.beat()
            waiting.join(0.2)
        assert denied == ["busy ada"]


def test_a_second_operator_waits_a_moment_for_the_first(machine: FakePrograms) -> None:
    first = Operator(machine, "ada")
    waiting = subprocess.Popen(
        ["/bin/sh", "-c", HOLD, "x", "locks", "acme", "grace", "10", "60"],
        cwd=machine.home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.2)
    first.end()
    said, _ = waiting.communicate(timeout=60)
    assert said == "held\n"


def test_what_a_killed_run_left_behind_is_waited_for_and_then_told(machine: FakePrograms) -> None:
    # The script waits a minute for it; here it is told at once that it waited in vain.
    real = shutil.which("flock")
    place = machine.home / ".tools/flock"
    place.write_text(f'#!/bin/sh\ncase "$*" in *"-E 76"*) exit 76;; esac\nexec {real} "$@"\n')
    place.chmod(0o755)
    with Operator(machine, "ada") as first:
        assert first.said == "orphan"


def test_the_lock_waits_for_the_very_lock_that_commands_take(machine: FakePrograms) -> None:
    path = Path(layout.lock_file("acme"))
    with Operator(machine, "ada"):
        assert (machine.home / "locks/acme").exists()
    assert path.name == "acme"
    assert str(path.parent) == as_sent(commands.under_command_lock("acme", "true")).words[4]


def test_the_locks_are_closed_to_others(machine: FakePrograms) -> None:
    with Operator(machine, "ada"):
        for path in (machine.home / "locks").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((machine.home / "locks").stat().st_mode) == 0o700


def take(said: str, *, executing: bool = True) -> tuple[list[Sent], list[Sent]]:
    """(what the operation sends, what it asked the connector to hold) where the machine answers so."""
    held: list[Sent] = []

    def acquire_lock(command: StringCommand) -> tuple[object, str]:
        held.append(as_sent(command))
        return object(), said

    host = FakeHost(connector=SimpleNamespace(acquire_lock=acquire_lock))
    context = TenantContext(ACME, receipt=Receipt("provision", "acme", (), ACME.port))
    return sent(lock.acquire_run_lock, host, executing=executing, context=context), held


def test_a_lock_that_is_taken_is_no_change_and_stays_taken_until_the_run_ends() -> None:
    assert take("held")[0] == []
    assert "acme" in current_run().part(lock.RunLocks).held
    assert take("anything, since nobody asks again") == ([], [])


def test_the_machine_is_told_who_works_there_where_from_since_when_and_at_what() -> None:
    _, (held,) = take("held")
    directory, tenant, who, _, silence = held.arguments
    assert directory == str(Path(layout.lock_file("acme")).parent)
    assert tenant == "acme"
    assert float(silence) > STALE + SILENT
    user, _, rest = who.partition("@")
    assert user
    assert " since " in rest
    assert rest.endswith(" UTC (provision)")
    assert held.script == HOLD


REFUSED: list[tuple[str, str]] = [
    ("busy ada@db1 since noon (recycle)", "another operator works on it: ada@db1 since noon (recycle)\nHINT: wait"),
    ("busy unknown", "another operator works on it: unknown\nHINT: wait"),
    ("orphan", "a command that a killed run left behind is still working on it\nHINT: list it: lslocks"),
    ("", "its lock could not be taken: no answer\nHINT: "),
    ("sh: 1: flock: not found", "its lock could not be taken: sh: 1: flock: not found\nHINT: "),
]


@pytest.mark.parametrize(("said", "says"), REFUSED)
def test_a_lock_that_is_not_taken_stops_the_tenant_with_the_reason(said: str, says: str) -> None:
    (refused,), _ = take(said)
    assert refused.refusal.startswith(f"acme: {says}")
    assert "acme" not in current_run().part(lock.RunLocks).held


def test_where_there_is_no_account_there_is_nothing_to_lock() -> None:
    assert take("account 'pgberth' does not exist on this machine")[0] == []
    assert "acme" not in current_run().part(lock.RunLocks).held


def test_nothing_is_locked_while_changes_are_detected() -> None:
    assert take("held", executing=False) == ([], [])


def test_only_the_verbs_that_change_something_take_the_lock() -> None:
    package = Path(lock.__file__).parents[1]
    files = [*package.glob("verbs/*.py"), *package.glob("rollout/*.py")]
    takes = {f"{path.parent.name}/{path.stem}" for path in files if "acquire_run_lock(" in path.read_text()}
    verbs = {"backfill", "erase", "migrate", "move", "provision", "register_model", "retire", "rotate"}
    assert takes == {*(f"verbs/{verb}" for verb in verbs), "rollout/recycle", "rollout/stage"}
