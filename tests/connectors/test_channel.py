"""A command's own output, whatever a login prints around it; and one text for every login shell."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from pyinfra.api import StringCommand

from pgberth.commands import as_account, script, shell, under_command_lock
from pgberth.connectors.channel import (
    BEGIN,
    END,
    Output,
    for_any_shell,
    framed,
    in_own_environment,
    line_for_login,
    read_output,
    said_before,
)
from pgberth.model.resources import TEMPLATES

NOISE: list[bytes] = [
    b"",
    b"Welcome\n",
    b"no newline",
    b"Welcome\nno newline",
    BEGIN[:-1],
    BEGIN[:5] * 3 + b"\n",
    b"\x1e" * 100,
    END,
    bytes(range(256)),
    "Grüße\n".encode("latin-1"),
    b"x" * 100_000,
]
OWN: list[bytes] = [
    b"",
    b"one\ntwo\n",
    b"no newline",
    bytes(range(256)) * 300,
    END[:-1],
    BEGIN,
    b"\x1e",
    b"y" * 1_000_000,
]


def in_chunks(stream: bytes, size: int) -> Output:
    """An Output whose stream brings at most `size` bytes at once."""
    file = io.BytesIO(stream)
    return Output(lambda wanted: file.read(min(size, wanted)))


def everything(output: Output, size: int = 32_768) -> bytes:
    return b"".join(iter(lambda: output.read(size), b""))


@pytest.mark.parametrize("before", NOISE, ids=range(len(NOISE)))
@pytest.mark.parametrize("own", OWN, ids=range(len(OWN)))
def test_only_what_the_command_prints_itself_is_its_output(before: bytes, own: bytes) -> None:
    stream = before + BEGIN + own + END + b"logout\n"
    for size in (1, 7, 32_768) if len(stream) < 5_000 else (1000, 32_768):
        output = in_chunks(stream, size)
        assert everything(output) == own
        assert output.begun
        assert output.before == before[-4096:]


def test_no_more_is_handed_out_at_once_than_was_asked_for() -> None:
    output = in_chunks(BEGIN + b"abcdef" + END, 100)
    assert [output.read(4), output.read(4), output.read(4)] == [b"abcd", b"ef", b""]


def test_a_line_is_handed_out_as_soon_as_it_is_there() -> None:
    def stream() -> Iterator[bytes]:
        yield b"Welcome\n" + BEGIN[:9]
        yield BEGIN[9:] + b"held\n"
        raise AssertionError("it waited for more")

    pieces = stream()
    assert Output(lambda _: next(pieces)).lines().readline() == "held\n"


def test_a_command_that_was_killed_has_said_what_it_said() -> None:
    assert everything(in_chunks(b"Welcome\n" + BEGIN + b"half" + END[:4], 3)) == b"half" + END[:4]


def test_what_was_said_in_place_of_the_command_is_kept_for_diagnosis() -> None:
    out, err = in_chunks(b"Welcome\n", 3), in_chunks("sudo: für diesen\n\nno".encode(), 1000)
    assert everything(out) == everything(err) == b""
    assert not out.begun
    assert said_before(out, err) == ["Welcome", "sudo: für diesen", "no"]


def test_bytes_that_are_no_text_do_not_stop_the_reading() -> None:
    output = read_output(
        in_chunks(BEGIN + b"a\xff\n\xe2\x82\xac\r\nb" + END, 2),
        in_chunks(BEGIN + END, 9),
        timeout=5,
        shown=False,
        prefix="",
    )
    assert output.stdout_lines == ["a\ufffd", "€\r", "b"]
    assert output.stderr_lines == []


def test_a_command_that_does_not_end_in_time_is_given_up() -> None:
    def nothing(_: int) -> bytes:
        gevent.sleep(30)
        return b""

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        read_output(Output(nothing), in_chunks(BEGIN + END, 9), timeout=1, shown=False, prefix="")
    assert time.monotonic() - began < 20


# Every one of these is read in another way by some shell between single quotes.
HARD = """printf '%s\\n' "a!b" !! 'c\\d' "it's" '^x^y' 'é{x,y}*?[a]~$HOME `id`' '%d' '$#argv' '#'
cat <<'X'
two \\
lines
X
"""
HARD_SAYS = "a!b\n!!\nc\\d\nit's\n^x^y\né{x,y}*?[a]~$HOME `id`\n%d\n$#argv\n#\ntwo \\\nlines\n"


@pytest.mark.parametrize("login_shell", ["sh", "bash", "dash"])
def test_a_login_shell_passes_a_text_on_as_it_is(login_shell: str) -> None:
    line = for_any_shell(HARD + "# " + "long " * 8000 + "\nexit 7\n")
    ended = subprocess.run([login_shell, "-c", line], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, HARD_SAYS, "")


def test_no_character_that_shells_differ_about_and_no_word_too_long_for_csh_is_sent() -> None:
    line = for_any_shell(HARD + "é" * 5000 + "€😀" * 500)
    assert line.isascii()
    assert line.isprintable()
    assert "!" not in line
    _, *words = line.partition(" pgberth ")[2].split("'")
    assert max(map(len, words)) < 1024


def login(line: str, rc: str, place: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What sshd would get: bash reads this .bashrc where it takes itself for a login over the network."""
    (place / ".bashrc").write_text(rc)
    told = {**os.environ, "HOME": str(place), "USER": "ada", "LOGNAME": "ada", "SSH_CLIENT": "::1 1 22", "SHLVL": "0"}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, check=False, env={**told, **environment}, input=b"in\n"
    )


RCS = {
    "a greeting on both streams": "echo Welcome; echo 'stdin: is not a tty' >&2",
    "no end of the line": "printf Welcome; printf Welcome >&2",
    "a shell that prints what it runs": "set -vx",
    "a trap at the end": "trap 'echo bye' EXIT",
    "something left running": "sleep 2 & ",
    "a directory path": "export CDPATH=/:/usr",
    "a library that is not there": "export LD_PRELOAD=/no/such/library.so",
}


@pytest.mark.parametrize("rc", RCS.values(), ids=list(RCS))
def test_a_login_s_own_words_do_not_reach_a_command_s_output(rc: str, tmp_path: Path) -> None:
    command = in_own_environment(shell("echo out; echo err >&2; cd lib && cat; exit 7", timeout=9))
    ended = login(line_for_login(StringCommand("cd /usr;", command)), rc, tmp_path, LC_ALL="xx_YY.UTF-8")
    out, err = (everything(Output(io.BytesIO(stream).read)) for stream in (ended.stdout, ended.stderr))
    assert (ended.returncode, out, err) == (7, b"out\nin\n", b"err\n")


def test_what_is_left_running_by_a_login_does_not_keep_a_command_waiting(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("sleep 30 &\n")
    told = {**os.environ, "HOME": str(tmp_path), "SSH_CLIENT": "::1 1 22", "SHLVL": "0"}
    line = line_for_login(StringCommand("echo out"))
    with subprocess.Popen(["bash", "-c", line], stdout=subprocess.PIPE, env=told, start_new_session=True) as process:
        assert process.stdout is not None
        began = time.monotonic()
        assert everything(Output(process.stdout.read1)) == b"out\n"  # type: ignore[attr-defined]
        assert time.monotonic() - began < 20
        os.killpg(process.pid, 9)


def test_a_command_at_a_machine_sees_nothing_of_what_a_login_has_exported_but_its_proxies(tmp_path: Path) -> None:
    rc = "export LC_ALL=xx_YY LANGUAGE=de CDPATH=/ PATH=/opt:$PATH POSIXLY_CORRECT=1 http_proxy=http://p:3128"
    ended = login(line_for_login(in_own_environment(StringCommand("env"))), rc, tmp_path)
    lines = Output(io.BytesIO(ended.stdout).read).lines().read().splitlines()
    assert set(lines) - {f"PWD={Path.cwd()}"} == {
        "LC_ALL=C",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"HOME={tmp_path}",
        "USER=ada",
        "LOGNAME=ada",
        "http_proxy=http://p:3128",
    }


@pytest.mark.parametrize(
    ("text", "code"), [("exit 0", 0), ("exit 75", 75), ("false", 1), ("no-such-program", 127), ("(", 2)]
)
def test_the_exit_code_is_the_command_s_own(text: str, code: int) -> None:
    line = framed(StringCommand(text)).get_raw_value()
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=False).returncode == code


LONGEST = 128 * 1024  # bytes; Linux's own limit for one argument, which sshd hands to the login's shell


@pytest.mark.parametrize("name", [str(path.relative_to(TEMPLATES)) for path in sorted(TEMPLATES.glob("*/*.sh"))])
def test_every_script_fits_into_one_line_for_a_login(name: str) -> None:
    command = as_account("pgberth", under_command_lock("acme", script(name), *["argument" * 8] * 50, timeout=120))
    assert len(line_for_login(command, _sudo=True)) < LONGEST
