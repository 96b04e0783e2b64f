"""The entrypoint of a workload, under dash and busybox sh: the table of URLs, the memory plugin's gate, signals."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from pgberth.model.resources import TEMPLATES
from pgberth.rendering import entrypoint as under_test
from pgberth.rendering.entrypoint import entrypoint
from pgberth.rendering.environment import environment
from tests.deploy.processes import eventually
from tests.deploy.site import free_port
from tests.model.table import BAD, GOOD, Bad, Good, case

SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"]}
TOOLS = ("cat", "date", "dash", "env", "printenv", "sh", "sleep", "timeout", "tr")
BASE = "postgresql://app:hunter2@localhost/memory"
INJECTED = f"{BASE}?options=-csearch_path%3Dmemory_plugin%2Cpublic"

# Healthy once a file is there; says in another what it was started with; ends when a third appears.
PLUGIN = """
import http.server, os, sys, pathlib
place = pathlib.Path(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        well = self.path == "/v1/health" and (place / "well").exists()
        self.send_response(200 if well else 503)
        self.end_headers()
    def log_message(self, *args): pass
names = ("MEMORY_PLUGIN_DATABASE_URL", "MEMORY_PLUGIN_SKIP_MIGRATE", "MEMORY_PLUGIN_LISTEN_ADDR")
with (place / "starts").open("a") as starts:
    print(os.getpid(), *(os.environ.get(name) for name in names), file=starts)
host, port = os.environ["MEMORY_PLUGIN_LISTEN_ADDR"].split(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


@dataclass
class Workload:
    """A place with the script, and a shell to run it with. + tools: the PATH"""

    shell: list[str]
    place: Path
    tools: Path

    def command(self, script: str, *command: str) -> list[str]:
        path = self.place / "entrypoint.sh"
        path.write_text(script)
        return [shutil.which(self.shell[0]) or "", *self.shell[1:], str(path), *command]

    def run(self, script: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(script, *command),
            env={"PATH": str(self.tools), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, script: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        environment = {"PATH": str(self.tools), **environment}
        # A shell cannot trap what its caller ignores, as nohup and a background job's shell do.
        heard = ["env", "--default-signal=INT,HUP"]
        with (self.place / "log").open("wb") as log:
            return subprocess.Popen([*heard, *self.command(script, *command)], env=environment, stdout=log, stderr=log)

    def offer(self, *tools: str) -> None:
        for tool in tools:
            found = shutil.which(tool) if tool != "python3" else sys.executable
            if not found:
                pytest.skip(f"{tool} is not tried: it is not installed")
            (self.tools / tool).symlink_to(found)


@pytest.fixture(params=list(SHELLS))
def workload(request: pytest.FixtureRequest, tmp_path: Path) -> Workload:
    shell = SHELLS[request.param]
    if not shutil.which(shell[0]):
        pytest.skip(f"the entrypoint is not tried under {request.param}: apt-get install {shell[0]}")
    (tmp_path / "tools").mkdir()
    made = Workload(shell, tmp_path, tmp_path / "tools")
    made.offer(*TOOLS)
    return made


# --- The table.


@pytest.mark.parametrize("row", [row for row in GOOD if row.shell], ids=case)
def test_the_simple_rows_come_out_as_pythons_do(row: Good, workload: Workload) -> None:
    if row.libpq == "refuses":
        refused(workload, row.given)
        return
    script = entrypoint(["memory_plugin"])
    ran = workload.run(script, "printenv", "MEMORY_PLUGIN_DATABASE_URL", "DATABASE_URL", DATABASE_URL=row.given)
    assert (ran.stdout, ran.stderr) == (f"{row.libpq}\n{row.given}\n", "")


@pytest.mark.parametrize("row", [row for row in GOOD if not row.shell], ids=case)
def test_what_only_python_does_is_refused_by_name(row: Good, workload: Workload) -> None:
    said = refused(workload, row.given)
    assert "set MEMORY_PLUGIN_DATABASE_URL" in said or "is encoded" in said


@pytest.mark.parametrize("row", BAD, ids=case)
def test_what_python_refuses_is_refused_at_boot_too(row: Bad, workload: Workload) -> None:
    refused(workload, row.given)


def refused(workload: Workload, given: str) -> str:
    """The script's stderr; the workload was not started, and no URL was printed."""
    ran = workload.run(entrypoint(["memory_plugin"]), "printenv", "PATH", DATABASE_URL=given)
    assert (ran.returncode, ran.stdout) == (78, "")
    assert ran.stderr.startswith("pgberth: DATABASE_URL: ")
    assert "\nHINT: " in ran.stderr
    assert "hunter2" not in ran.stderr
    return ran.stderr


@pytest.mark.parametrize(
    "own", ["postgresql://x/y?search_path=knowledge#z", "host=db password='$(id) `id` \\a'", "a\nb "]
)
def test_an_operators_own_url_is_left_byte_for_byte(own: str, workload: Workload) -> None:
    given = {"MEMORY_PLUGIN_DATABASE_URL": own, "DATABASE_URL": "mysql://nonsense"}
    ran = workload.run(entrypoint(["memory_plugin"]), "printenv", "MEMORY_PLUGIN_DATABASE_URL", **given)
    assert (ran.stdout, ran.stderr) == (f"{own}\n", "")


def test_each_component_gets_its_own(workload: Workload) -> None:
    ran = workload.run(entrypoint(["control_plane", "knowledge"]), "env", DATABASE_URL=BASE)
    told = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert told["CONTROL_PLANE_DATABASE_URL"] == f"{BASE}?options=-csearch_path%3Dcontrol_plane%2Cpublic"
    assert told["KNOWLEDGE_DATABASE_URL"] == f"{BASE}?options=-csearch_path%3Dknowledge%2Cpublic"
    assert "MEMORY_PLUGIN_DATABASE_URL" not in told


@pytest.mark.parametrize("name", ["DATABASE_URL", "MEMORY_PLUGIN_DATABASE_URL"])
def test_a_url_may_come_as_a_mounted_file(name: str, workload: Workload) -> None:
    (workload.place / "url").write_text(f"{BASE}\n")
    given = {f"{name}_FILE": str(workload.place / "url")}
    ran = workload.run(entrypoint(["memory_plugin"]), "printenv", "MEMORY_PLUGIN_DATABASE_URL", **given)
    assert ran.stdout == f"{INJECTED if name == 'DATABASE_URL' else BASE}\n"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "neither MEMORY_PLUGIN_DATABASE_URL nor DATABASE_URL is set"),
        ({"DATABASE_URL": ""}, "neither MEMORY_PLUGIN_DATABASE_URL nor DATABASE_URL is set"),
        ({"DATABASE_URL_FILE": "/nowhere"}, "DATABASE_URL_FILE: /nowhere cannot be read"),
        ({"DATABASE_URL_FILE": "/dev/null"}, "DATABASE_URL_FILE: /dev/null cannot be read, or is empty"),
    ],
)
def test_without_a_url_nothing_is_started(given: dict[str, str], says: str, workload: Workload) -> None:
    ran = workload.run(entrypoint(["memory_plugin"]), "printenv", "PATH", **given)
    assert (ran.returncode, ran.stdout) == (78, "")
    assert says in ran.stderr


def test_the_workload_takes_the_shells_place_with_its_arguments_and_exit_code(workload: Workload) -> None:
    script = entrypoint(["memory_plugin"])
    ran = workload.run(script, "sh", "-c", 'echo "$# $1"; exit 7', "x", "a  b*", "", DATABASE_URL=BASE)
    assert (ran.returncode, ran.stdout) == (7, "2 a  b*\n")
    process = workload.start(script, "sleep", "60", DATABASE_URL=BASE)
    command_line = Path(f"/proc/{process.pid}/cmdline")
    assert eventually(lambda: command_line.read_bytes().startswith(b"sleep"))
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM


def test_no_command_is_refused(workload: Workload) -> None:
    ran = workload.run(entrypoint(["memory_plugin"]), DATABASE_URL=BASE)
    assert (ran.returncode, "no command is given" in ran.stderr) == (78, True)


# --- The plugin.


@dataclass
class Plugged:
    """A workload with a memory plugin beside it."""

    workload: Workload
    port: int

    def script(self, gate: int = 20) -> str:
        program = self.workload.place / "plugin.py"
        program.write_text(PLUGIN)
        return entrypoint(
            ["memory_plugin"], [sys.executable, str(program), str(self.workload.place)], port=self.port, gate=gate
        )

    @property
    def starts(self) -> list[list[str]]:
        path = self.workload.place / "starts"
        return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def log(self) -> str:
        return (self.workload.place / "log").read_text()

    def well(self) -> None:
        (self.workload.place / "well").touch()

    def gone(self) -> bool:
        return not any(Path(f"/proc/{start[0]}").exists() for start in self.starts)


@pytest.fixture
def plugged(workload: Workload) -> Iterator[Plugged]:
    made = Plugged(workload, free_port())
    yield made
    for start in made.starts:  # the test's own, where it failed
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(start[0]), signal.SIGKILL)


@pytest.mark.parametrize("client", ["wget", "python3"])
def test_a_healthy_plugin_opens_the_gate_whatever_client_there_is(client: str, plugged: Plugged) -> None:
    plugged.workload.offer(client)
    plugged.well()
    ran = plugged.workload.run(
        plugged.script(), "printenv", "MEMORY_PLUGIN_URL",
        DATABASE_URL=BASE, MEMORY_PLUGIN_REQUIRED="1", http_proxy="http://127.0.0.1:9",
    )  # fmt: skip
    address = f"127.0.0.1:{plugged.port}"
    assert (ran.returncode, ran.stdout) == (0, f"http://{address}\n"), ran.stderr
    assert [start[1:] for start in plugged.starts] == [[INJECTED, "1", address]]
    assert eventually(plugged.gone), "the plugin outlived its workload"


def test_the_image_may_have_no_client_but_busyboxes(plugged: Plugged) -> None:
    if not shutil.which("busybox"):
        pytest.skip("busybox wget is not tried: apt-get install busybox")
    (plugged.workload.tools / "wget").symlink_to(shutil.which("busybox") or "")
    plugged.well()
    ran = plugged.workload.run(plugged.script(), "printenv", "MEMORY_PLUGIN_URL", DATABASE_URL=BASE)
    assert ran.stdout == f"http://127.0.0.1:{plugged.port}\n", ran.stderr


def test_a_plugin_that_comes_late_is_waited_for(plugged: Plugged) -> None:
    plugged.workload.offer("curl")
    process = plugged.workload.start(plugged.script(), "sleep", "60", DATABASE_URL=BASE, MEMORY_PLUGIN_REQUIRED="1")
    assert eventually(lambda: bool(plugged.starts))
    plugged.well()
    assert eventually(lambda: "is healthy" in plugged.log)
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM


def test_a_required_plugin_that_is_not_healthy_aborts_the_boot(plugged: Plugged) -> None:
    plugged.workload.offer("curl")
    given = {"DATABASE_URL": BASE, "MEMORY_PLUGIN_REQUIRED": "1"}
    ran = plugged.workload.run(plugged.script(gate=1), "printenv", "PATH", **given)
    assert (ran.returncode, ran.stdout) == (69, "")
    assert "was not healthy within 1 s, and MEMORY_PLUGIN_REQUIRED is set" in ran.stderr
    assert "HINT: " in ran.stderr
    assert eventually(plugged.gone)


@pytest.mark.parametrize("client", [["curl"], []], ids=["unhealthy", "nothing to ask with"])
def test_one_that_is_not_required_degrades_and_says_so(client: list[str], plugged: Plugged) -> None:
    plugged.workload.offer(*client)
    ran = plugged.workload.run(plugged.script(gate=1), "printenv", "MEMORY_PLUGIN_URL", DATABASE_URL=BASE)
    assert (ran.returncode, ran.stdout) == (0, "\n")
    assert "going on without: MEMORY_PLUGIN_URL is blank" in ran.stderr
    assert client or "there is no curl, wget or python3" in ran.stderr


def test_a_plugin_that_ends_is_started_again_beside_the_running_workload(plugged: Plugged) -> None:
    plugged.workload.offer("curl")
    plugged.well()
    process = plugged.workload.start(plugged.script(), "sleep", "60", DATABASE_URL=BASE)
    assert eventually(lambda: "is healthy" in plugged.log)
    os.kill(int(plugged.starts[0][0]), signal.SIGKILL)
    assert eventually(lambda: len(plugged.starts) == 2), plugged.log
    assert "the memory plugin ended; it is started again" in plugged.log
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    assert eventually(plugged.gone)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_gate_ends_both(number: signal.Signals, plugged: Plugged) -> None:
    plugged.workload.offer("curl")
    process = plugged.workload.start(plugged.script(gate=60), "sleep", "60", DATABASE_URL=BASE)
    assert eventually(lambda: bool(plugged.starts))
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert eventually(plugged.gone)


def test_somebody_elses_plugin_is_left_alone_even_where_ours_is_disabled(plugged: Plugged) -> None:
    given = {"MEMORY_PLUGIN_URL": "https://plugin.example/x", "MEMORY_PLUGIN_DISABLE": "1", "DATABASE_URL": BASE}
    ran = plugged.workload.run(plugged.script(), "printenv", "MEMORY_PLUGIN_URL", **given)
    assert (ran.stdout, ran.stderr, plugged.starts) == ("https://plugin.example/x\n", "", [])


def test_a_disabled_plugin_is_not_started(plugged: Plugged) -> None:
    given = {"MEMORY_PLUGIN_DISABLE": "1", "DATABASE_URL": BASE}
    ran = plugged.workload.run(plugged.script(), "printenv", "MEMORY_PLUGIN_URL", **given)
    assert (ran.stdout, ran.stderr, plugged.starts) == ("\n", "pgberth: the memory plugin is disabled\n", [])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"MEMORY_PLUGIN_REQUIRED": "yes please"}, "MEMORY_PLUGIN_REQUIRED: 'yes please' must be 1 or 0"),
        ({"MEMORY_PLUGIN_DISABLE": "2"}, "MEMORY_PLUGIN_DISABLE: '2' must be 1 or 0"),
        ({"MEMORY_PLUGIN_URL": "http://localhost:http/"}, "MEMORY_PLUGIN_URL: its port is not a number"),
        ({"MEMORY_PLUGIN_URL": "http://127.0.0.1:"}, "MEMORY_PLUGIN_URL: its port is not a number"),
    ],
)
def test_a_switch_that_is_not_understood_is_refused(given: dict[str, str], says: str, plugged: Plugged) -> None:
    ran = plugged.workload.run(plugged.script(), "printenv", "PATH", DATABASE_URL=BASE, **given)
    assert (ran.returncode, ran.stdout, says in ran.stderr) == (78, "", True), ran.stderr


# --- Rendering.


def test_no_value_can_become_code() -> None:
    script = entrypoint(["memory_plugin"], ["/bin/x", "$(id)", "it's", "{{ 7*7 }}"])
    assert "/bin/x '$(id)' 'it'\"'\"'s' '{{ 7*7 }}' &" in script


@pytest.mark.parametrize("text", ["{{ port }}", "{{ 'a' | word | upper }}", "{{ plugin }}"])
def test_what_is_not_typed_as_shell_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not typed as shell"):
        environment(TEMPLATES, under_test.SHELL).from_string(text).render(port=1, plugin=[])


def test_an_undefined_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        environment(TEMPLATES, under_test.SHELL).from_string("{{ nothing }}").render()


@pytest.mark.parametrize("value", [None, 7, "a\0b"])
def test_a_word_is_text(value: object) -> None:
    with pytest.raises(TypeError, match="is not text"):
        under_test.word(value)


@pytest.mark.parametrize("value", ["7", -1, True, None])
def test_an_integer_is_a_whole_number(value: object) -> None:
    with pytest.raises(TypeError, match="is not a whole number"):
        under_test.integer(value)


def test_a_plugin_without_its_component_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the component memory_plugin"):
        entrypoint(["knowledge"], ["x"])
