"""The memory plugin's entrypoint, under the plainest shells: the password from its file, and again after SIGHUP."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgberth import commands
from tests.deploy.processes import eventually

SHELLS = [["dash"], ["busybox", "sh"], ["bash", "--posix"]]
SECRET = "/run/secrets/memory_plugin_database_url"
# A plugin that writes down what it was given, and ends at SIGTERM.
PLUGIN = 'trap "exit 0" TERM; echo "$MEMORY_PLUGIN_DATABASE_URL" >> "$1"; while :; do sleep 0.05; done'


class Started:
    """An entrypoint that runs. + log: what its plugin was given, a line for each start"""

    def __init__(self, shell: list[str], place: Path, plugin: str = PLUGIN):
        self.url, self.log, script = place / "url", place / "log", place / "sidecar.sh"
        self.url.write_text("postgresql://first\n")
        script.write_text(commands.script("entrypoint/sidecar.sh").replace(SECRET, str(self.url)))
        self.process = subprocess.Popen(
            [*shell, str(script), "/bin/sh", "-c", plugin, "plugin", str(self.log)],
            env={"PATH": os.environ["PATH"]},
            stderr=subprocess.PIPE,
            text=True,
        )

    def given(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    assert shutil.which(found[0]), f"{found[0]} is not on this machine"
    return found


@pytest.fixture
def started(shell: list[str], tmp_path: Path) -> Iterator[Started]:
    made = Started(shell, tmp_path)
    with made.process:
        yield made
        made.process.terminate()
        assert made.process.wait(10) == 0


def test_after_a_hangup_the_plugin_runs_again_with_what_its_file_says_then(started: Started) -> None:
    assert eventually(lambda: started.given() == ["postgresql://first"])
    for number in range(3):
        started.url.write_text(f"postgresql://next{number}\n")
        started.process.send_signal(signal.SIGHUP)
        assert eventually(lambda number=number: started.given()[-1] == f"postgresql://next{number}")  # type: ignore[misc]
    assert len(started.given()) == 4
    assert started.process.poll() is None


def test_a_plugin_that_ends_by_itself_ends_its_container_with_its_code(shell: list[str], tmp_path: Path) -> None:
    with Started(shell, tmp_path, "exit 7").process as process:
        assert process.wait(10) == 7


def test_without_a_readable_file_nothing_is_run(shell: list[str], tmp_path: Path) -> None:
    made = Started(shell, tmp_path)
    with made.process:
        assert eventually(made.given)
        made.url.unlink()
        made.process.send_signal(signal.SIGHUP)
        assert made.process.wait(10) == 78
        assert made.process.stderr is not None
        assert "cannot be read, or is empty" in made.process.stderr.read()
    assert len(made.given()) == 1


def test_however_quickly_hangups_follow_one_another_the_last_password_wins(started: Started) -> None:
    assert eventually(started.given)
    for number in range(100):
        started.url.with_suffix(".new").write_text(f"postgresql://next{number}\n")
        started.url.with_suffix(".new").replace(started.url)
        started.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: started.given()[-1:] == ["postgresql://next99"])
    assert started.process.poll() is None


def test_told_to_end_right_after_a_hangup_it_ends(shell: list[str], tmp_path: Path) -> None:
    made = Started(shell, tmp_path)
    with made.process as process:
        assert eventually(made.given)
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert process.wait(10) == 0
