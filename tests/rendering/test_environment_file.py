"""A published file of variables is read by shells and by python-dotenv to the same values."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgberth.model.secret import Secret
from pgberth.model.url import tenant_url, variable
from pgberth.rendering.environment_file import environment_file

PASSWORD = Secret("".join(map(chr, range(33, 127))))  # every character that a password may have
PLACES = {"loopback": {}, "beyond loopback": {"host": "db1.example", "root": "/home/o'neil $x/ca.crt"}}
Reader = Callable[[Path], Mapping[str, str | None]]


def shell(*command: str) -> Reader:
    """All that a shell has after it sourced the file, and that it had not before."""

    def read(path: Path) -> Mapping[str, str | None]:
        script = 'set -eu -a; . "$1"; command env -0'
        done = subprocess.run([*command, "-c", script, "x", path], capture_output=True, text=True, check=True, env={})
        assert done.stderr == ""
        found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
        return {name: value for name, value in found.items() if name.endswith("DATABASE_URL") or name.islower()}

    return read


def dotenv(path: Path) -> Mapping[str, str | None]:
    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def literal(path: Path) -> Mapping[str, str | None]:
    """As podman and docker read it: quotes are part of a value, and a name's last line counts."""
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


READERS = {
    "sh": shell("/bin/sh"),
    "bash": shell("/bin/bash"),
    "bash as sh": shell("/bin/bash", "--posix"),
    "python-dotenv": dotenv,
    "literal": literal,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("place", PLACES)
def test_every_reader_finds_the_same_urls(tmp_path: Path, reader: str, place: str) -> None:
    told = {variable(one): tenant_url(5501, one, password=PASSWORD, **PLACES[place]) for one in (None, "knowledge")}
    (tmp_path / "connection.env").write_text(environment_file(told))
    assert READERS[reader](tmp_path / "connection.env") == told


def test_on_loopback_each_variable_has_one_line() -> None:
    told = {variable(one): tenant_url(5501, one, password=PASSWORD) for one in (None, "knowledge")}
    assert environment_file(told) == "".join(f"{name}={url}\n" for name, url in told.items())


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\"'$\\`"), min_size=1))
def test_any_value_that_is_accepted_is_the_same_to_all(tmp_path: Path, value: str) -> None:
    (tmp_path / "one.env").write_text(environment_file({"A_DATABASE_URL": value}))
    for name, read in READERS.items():
        assert read(tmp_path / "one.env") == {"A_DATABASE_URL": value}, name


@pytest.mark.parametrize("value", ["a b", "it's", 'a"b', "$HOME", "`id`", "a\\b", "a\nB=c", "é"])
def test_what_readers_do_not_agree_on_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="A: readers do not agree"):
        environment_file({"A": value})
