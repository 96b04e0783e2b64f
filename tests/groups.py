"""
Every test on this machine, in three groups beside each other: python -m tests.groups [PYTEST_OPTION...]

+ unit: what needs no container
+ deploy: containers of this machine
+ hosts: throwaway hosts

Each group is a pytest run of its own, printed whole when it ends, with its ten slowest tests. Exits 0 only where every
group passed; a group in which no test ran has failed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.sampling import SEED, SEED_VARIABLE

REPO = Path(__file__).resolve().parents[1]
GROUPS = {
    "unit": ("--ignore=tests/bench", "--ignore=tests/deploy", "--ignore=tests/hosts"),
    "deploy": ("tests/deploy",),
    "hosts": ("tests/hosts",),
}
# No cache: three runs would write one file.
_OPTIONS = ("-p", "no:cacheprovider", "--durations=10", "--durations-min=0.5")
_CLOSES = re.compile(r"\b(passed|failed|errors?|skipped|deselected|no tests ran)\b.* in [0-9.]+s")
_END_SECONDS = 180  # more than the removal of everything that a group has made takes


@dataclass
class Group:
    """A pytest run under way, or ended. + began, seconds: by the monotonic clock; seconds is 0 until it has ended"""

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    began: float
    seconds: float = 0.0

    @property
    def code(self) -> int:
        return self.process.returncode

    @property
    def closing_line(self) -> str:
        """pytest's own last line: what passed, failed and was skipped."""
        lines = self.output.read_text(errors="replace").splitlines()
        return next((line.strip("= ") for line in reversed(lines) if _CLOSES.search(line)), "no closing line")

    def print_once_ended(self) -> None:
        """Print all of its output, the first time that it has ended."""
        if not self.seconds and self.process.poll() is not None:
            self.seconds = time.monotonic() - self.began
            print(f"\n######## {self.name}: {self.seconds:.0f} s", flush=True)
            sys.stdout.buffer.write(self.output.read_bytes())
            sys.stdout.flush()


def start(name: str, options: Sequence[str], place: Path) -> Group:
    """A session of its own: Ctrl-C reaches a group once, from here, and not twice."""
    output = place / f"{name}.txt"
    pytest = [os.environ["PYTEST"]] if "PYTEST" in os.environ else [sys.executable, "-m", "pytest"]
    command = [*pytest, *_OPTIONS, *GROUPS[name], *options]
    environment = {**os.environ, SEED_VARIABLE: str(SEED)}  # one sample for all groups
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=REPO, env=environment, start_new_session=True
        )
    return Group(name, process, output, time.monotonic())


def end(groups: Sequence[Group]) -> None:
    """Interrupt the groups and wait until each has removed what it made."""
    for group in groups:
        if group.process.poll() is None:
            group.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _END_SECONDS
    for group in groups:
        try:
            group.process.wait(max(deadline - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            print(f"{group.name} did not end within {_END_SECONDS} s; it is killed", file=sys.stderr)
            group.process.kill()
            group.process.wait()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Each signal that asks for the end raises KeyboardInterrupt; a job in the background would ignore Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def table(groups: Sequence[Group]) -> list[str]:
    """A line a group: seconds, exit code, pytest's closing line."""
    return [f"{group.name:8}{group.seconds:6.0f} s  exit {group.code}  {group.closing_line}" for group in groups]


def main(options: Sequence[str]) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pgberth-groups-") as directory, interruptible():
        groups: list[Group] = []
        try:
            for name in GROUPS:
                groups.append(start(name, options, Path(directory)))
            print(f"{', '.join(GROUPS)}: each is printed when it ends; until then see {directory}", flush=True)
            while running := [group for group in groups if not group.seconds]:
                time.sleep(0.2)
                for group in running:
                    group.print_once_ended()
        except KeyboardInterrupt:
            end(groups)
            for group in groups:
                group.print_once_ended()
            return 130
        print(f"\n######## all groups: {time.monotonic() - began:.0f} s", *table(groups), sep="\n")
        return next((group.code for group in groups if group.code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
