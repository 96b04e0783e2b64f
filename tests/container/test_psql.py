"""psql.sh, run for real beside programs that only pretend: straight into the container, or by podman's way round."""

from __future__ import annotations

import pytest

from pgberth import commands
from tests.fake_podman import FakePrograms

SCRIPT = commands.script("container/psql.sh")
BINDIR = "/usr/lib/postgresql/18/bin"


def asked(machine: FakePrograms, pid: str = "4711") -> tuple[int, str, str]:
    done = machine.run(SCRIPT, "acme", pid, BINDIR, "memory", stdin="SELECT 1;\n\n")
    return done.returncode, done.stdout, done.stderr


def test_the_script_goes_straight_into_the_container_and_its_answer_comes_back(machine: FakePrograms) -> None:
    machine.answer("nsenter", ("*", "1", 0))
    machine.answer("podman")
    machine.also("nsenter", "*", "cat > got")
    assert asked(machine) == (0, "1\n", "")
    (words,) = machine.asked("nsenter")
    assert words[:6] == ["-t", "4711", "-U", "-m", "--preserve-credentials", f"{BINDIR}/psql"]
    assert words[6:] == ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-U", "postgres", "-d", "memory",
                         "-f", "-"]  # fmt: skip
    assert (machine.home / "got").read_text() == "SELECT 1;\n\n"
    assert machine.asked() == []


@pytest.mark.parametrize("pid", ["4711", "0"])
def test_podman_is_the_way_round_where_there_is_no_way_straight_in(machine: FakePrograms, pid: str) -> None:
    machine.answer("nsenter", ("*", "nsenter: cannot open /proc/4711/ns/user: No such file or directory", 1))
    machine.answer("podman", ("exec -i --env PGOPTIONS acme *", "1", 0))
    machine.also("podman", "exec *", "cat > got")
    assert asked(machine, pid) == (0, "1\n", "")
    assert len(machine.asked("nsenter")) == (pid != "0")
    assert (machine.home / "got").read_text() == "SELECT 1;\n\n"


def test_what_the_server_refuses_is_not_tried_a_second_time(machine: FakePrograms) -> None:
    machine.answer("nsenter", ("*", 'psql:<stdin>:1: ERROR:  role "x" does not exist', 3))
    machine.answer("podman")
    assert asked(machine) == (3, "", 'psql:<stdin>:1: ERROR:  role "x" does not exist\n')
    assert machine.asked() == []


def test_both_ways_closed_is_a_failure_in_podmans_words(machine: FakePrograms) -> None:
    machine.answer("nsenter", ("*", "nsenter: no", 1))
    machine.answer("podman", ("*", "Error: no such container acme", 125))
    assert asked(machine) == (125, "", "Error: no such container acme\n")


FULL = "psql: error: connection to server failed: FATAL:  sorry, too many clients already"
NO_LOCKS = "psql: error: connection to server failed: FATAL:  out of shared memory"


@pytest.mark.parametrize("refused", [FULL, NO_LOCKS])
def test_a_server_that_has_no_place_or_no_lock_for_a_moment_is_asked_again(machine: FakePrograms, refused: str) -> None:
    machine.answer("nsenter", ("*", refused, 2))
    machine.also("nsenter", "*", "cat > got; [ -e waited ] && { echo 1; exit 0; }; touch waited")
    machine.answer("sleep")
    assert asked(machine) == (0, "1\n", "")
    assert (machine.home / "got").read_text() == "SELECT 1;\n\n"


def test_a_server_that_stays_full_is_a_failure_in_its_own_words(machine: FakePrograms) -> None:
    machine.answer("sleep")
    machine.answer("nsenter", ("*", FULL, 2))
    machine.answer("podman")
    assert asked(machine) == (2, "", f"{FULL}\n")
    assert len(machine.asked("sleep")) > 10
