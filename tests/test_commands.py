"""Shell commands: what they carry reaches the shell as it is, and what they promise holds under a real /bin/sh."""

from __future__ import annotations

import inspect
import os
import pwd
import re
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyinfra.api import StringCommand
from pyinfra.api.operation import get_operation_name_from_func

from pgberth import commands
from pgberth.commands import File
from pgberth.container.context import TenantObservation
from pgberth.machine.facts import AccountObservation, InstalledTenants, MachineObservation, as_account
from pgberth.machine.preparation import MachineFacts
from pgberth.model import layout
from pgberth.model.problems import Problem, Refused, visible
from pgberth.model.resources import TEMPLATES
from tests.fake_host import Sent, as_sent
from tests.machine.states import READY_AS_ROOT
from tests.sampling import often

HOSTILE = [
    "$(touch injected)",
    "`touch injected`",
    "; touch injected;",
    "|| touch injected",
    "&& touch injected #",
    "> injected",
    "x' ; touch injected ; '",
    'x" ; touch injected ; "',
    "\ntouch injected\n",
    "-rf",
    "--",
    "-c",
    "",
    " ",
    "a  b",
    "*",
    "~",
    "$HOME",
    "\\",
    "%s%n",
    "{{ 7 * 7 }}",
    'x" SUPERUSER; --',
    "snow☃man",
]

# What a shell's argument can hold: anything but NUL.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(HOSTILE)

FACTS = READY_AS_ROOT


def facts(**changes: str) -> MachineFacts:
    return MachineFacts(**{**vars(FACTS), **changes})


# Builder by builder: one text goes in, and must be one token of what comes out.
BUILDERS: dict[str, Callable[[str], StringCommand]] = {
    "refuse": lambda text: commands.refuse(Problem(text)),
    "shell, script": lambda text: commands.shell(text, "x", timeout=1),
    "shell, argument": lambda text: commands.shell("true", "x", text, timeout=1),
    "locked, script": lambda text: commands.under_command_lock("acme", text),
    "locked, argument": lambda text: commands.under_command_lock("acme", "true", text),
    "write_file, path": lambda text: commands.write_files("acme", [File(text, "text")]),
    "write_file, mode": lambda text: commands.write_files("acme", [File("path", "text", text)]),
    "as_account, script": lambda text: as_account(FACTS, text, timeout=1),
    "as_account, argument": lambda text: as_account(FACTS, "true", text, timeout=1),
    "as_account, account": lambda text: as_account(facts(account=text), "true", timeout=1),
    "as another account, account": lambda text: commands.as_account(text, StringCommand("true")),
    "as another account, command": lambda text: commands.as_account("x", StringCommand(text)),
    "machine facts, account": lambda text: MachineObservation().command(account=text),
    "account facts, tag": lambda text: AccountObservation().command(facts=FACTS, tags=("x", text)),
}


def run(command: StringCommand, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a machine runs it: by /bin/sh, in the account's home."""
    asked = as_sent(command)
    return subprocess.run(
        ["/bin/sh", "-c", asked.text],
        input=asked.given,
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("builder", BUILDERS)
@settings(max_examples=often(50, whole=500), deadline=None)
@given(text=TEXT)
def test_hostile_text_is_one_token_of_every_command(builder: str, text: str) -> None:
    # What a refusal says is for a terminal: it shows what could steer one.
    desired = visible(text) if builder == "refuse" else text
    sent = as_sent(BUILDERS[builder](text))
    assert desired in shlex.split(sent.text) or desired in sent.words


def test_a_refusal_asks_nothing_of_the_machine_and_fails_with_its_lines() -> None:
    # There may be no account there yet that could say it.
    refusal = commands.refuse(Problem("acme: no", "look"), Problem("globex: neither"))
    nobody: Any = None
    done, output = refusal.execute(nobody, nobody, nobody)
    assert (done, output.stdout_lines) == (False, [])
    assert output.stderr_lines == ["acme: no", "HINT: look", "globex: neither"]


@commands.guarded_operation()
def step_taken(before: int, refusal: Refused | None = None, after: int = 0) -> commands.Commands:
    """Yields `before` commands, refuses where it was given a refusal, and yields `after` more."""
    for number in range(before):
        yield StringCommand(f"echo {number}")
    if refusal is not None:
        raise refusal
    for number in range(after):
        yield StringCommand(f"echo {before + number}")


NO = Refused([Problem("acme: no", "look"), Problem("acme: neither")])


@pytest.mark.parametrize(
    ("arguments", "commands_sent", "refusal"),
    [
        ({"before": 0, "refusal": NO}, [], "acme: no\nHINT: look\nacme: neither"),
        ({"before": 2, "refusal": NO}, ["echo 0", "echo 1"], "acme: no\nHINT: look\nacme: neither"),
        ({"before": 1, "after": 1}, ["echo 0", "echo 1"], ""),
        ({"before": 0}, [], ""),
    ],
    ids=["before its first command", "after two commands", "never", "never, with nothing to do"],
)
def test_an_operation_that_refuses_ends_in_one_failing_command(
    arguments: dict[str, Any], commands_sent: list[str], refusal: str
) -> None:
    yielded = [as_sent(command) for command in step_taken._inner(**arguments)]
    assert [one.text for one in yielded if not one.refusal] == commands_sent
    assert [one.refusal for one in yielded if one.refusal] == ([refusal] if refusal else [])


def test_an_operation_lets_any_other_exception_out() -> None:
    @commands.guarded_operation()
    def broken() -> commands.Commands:
        yield StringCommand("true")
        raise LookupError("a fault of ours")

    with pytest.raises(LookupError):
        list(broken._inner())


def test_pyinfra_sees_the_operation_under_its_own_name_and_signature() -> None:
    assert get_operation_name_from_func(step_taken._inner) == "test_commands.step_taken"
    assert list(inspect.signature(step_taken._inner).parameters) == ["before", "refusal", "after"]
    assert vars(step_taken._inner)["is_idempotent"]

    @commands.guarded_operation(is_idempotent=False)
    def once() -> commands.Commands:
        yield StringCommand("true")

    assert not vars(once._inner)["is_idempotent"]


def test_a_change_is_expected_of_an_operation_that_would_refuse() -> None:
    # pyinfra asks for an operation's first command to learn whether it would change anything, and stops there.
    asked = step_taken._inner(before=1, refusal=NO)
    assert as_sent(next(asked)).text == "echo 0"
    asked.close()


@given(text=TEXT.filter(lambda text: "/" not in text))
def test_a_hostile_tenants_name_is_one_token_too_although_load_refuses_it(text: str) -> None:
    words = as_sent(commands.under_command_lock(text, "true")).words
    assert layout.lock_file(text) in words
    words = as_sent(TenantObservation().command(tenant=text)).words
    assert layout.directory(text) in words
    assert text in words


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_reaches_a_script_as_its_argument_and_nothing_of_it_runs(tmp_path: Path, text: str) -> None:
    show = 'for each in "$@"; do printf "<%s>" "$each"; done'
    for command in (commands.shell(show, text, text, timeout=5), commands.under_command_lock("acme", show, text, text)):
        done = run(command, tmp_path)
        assert done.stdout == f"<{text}><{text}>"
        assert done.returncode == 0
    assert not (tmp_path / "injected").exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_refusal_prints_hostile_text_as_it_is(tmp_path: Path, text: str) -> None:
    done = run(commands.refuse(Problem(f"acme: {text}")), tmp_path)
    assert done.stderr == f"acme: {text}\n"
    assert not (tmp_path / "injected").exists()


def test_a_refusal_prints_every_problem_with_its_hint_and_exits_1(tmp_path: Path) -> None:
    done = run(commands.refuse(Problem("acme: no", "look"), Problem("globex: neither")), tmp_path)
    assert done.stderr == "acme: no\nHINT: look\nglobex: neither\n"
    assert done.stdout == ""
    assert done.returncode == 1


def test_a_command_as_another_account_is_its_own_in_everything(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.geteuid())
    show = commands.shell('printf "%s\\n" "$(id -u)" "$PWD" "$(umask)" "$1"; env', "$(touch injected)", timeout=5)
    done = run(commands.as_account(me.pw_name, show), tmp_path, PGPASSWORD="hunter2")
    uid, place, umask, argument, *environment = done.stdout.splitlines()
    assert (uid, place, umask, argument) == (str(me.pw_uid), me.pw_dir, "0077", "$(touch injected)")
    assert {f"HOME={me.pw_dir}", f"USER={me.pw_name}", f"XDG_RUNTIME_DIR=/run/user/{uid}"} <= set(environment)
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize("account", ["no-such-account", "", "x; id", "$(id)"])
def test_another_account_that_does_not_exist_is_said_so(tmp_path: Path, account: str) -> None:
    done = run(commands.as_account(account, StringCommand("echo ran")), tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"account '{account}' does not exist on this machine\n"


def test_a_command_as_another_account_gets_its_standard_input_and_tells_its_exit_code(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    asked = as_sent(commands.as_account(me, StringCommand("cat; exit 3")))
    done = subprocess.run(["/bin/sh", "-c", asked.text], input="said", capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("said", 3)


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    assert run(commands.shell("sleep 60", timeout=1), tmp_path).returncode == 124
    assert time.monotonic() - began < 30


def test_a_commands_exit_code_is_its_own_under_the_lock_too(tmp_path: Path) -> None:
    for code in (0, 1, 3):
        done = run(commands.under_command_lock("acme", f"exit {code}"), tmp_path)
        assert (done.returncode, done.stderr) == (code, "")


def test_a_locked_command_reads_its_standard_input(tmp_path: Path) -> None:
    assert run(commands.under_command_lock("acme", "cat", stdin="from outside\n"), tmp_path).stdout == "from outside\n"


def test_the_lock_is_outside_the_tenants_directory_and_private(tmp_path: Path) -> None:
    run(commands.under_command_lock("acme", "true"), tmp_path)
    lock = tmp_path / layout.lock_file("acme")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert stat.S_IMODE(lock.parent.stat().st_mode) == 0o700
    assert not str(lock).startswith(str(tmp_path / layout.directory("acme")))


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[None]:
    """Another command works on acme."""
    command = commands.under_command_lock("acme", "echo begun; exec sleep 30").get_raw_value()
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        yield
        os.killpg(other.pid, 9)


def test_a_second_command_waits_and_then_says_who_is_in_the_way(
    tmp_path: Path, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "LOCK_WAIT", 1)
    done = run(commands.under_command_lock("acme", "echo ran"), tmp_path)
    assert done.returncode == 75
    assert done.stdout == ""
    assert done.stderr.startswith("acme: another command has been working on this tenant for 1 s\nHINT: ")
    assert f"lslocks | grep {layout.lock_file('acme')}" in done.stderr


def test_another_tenants_lock_is_in_nobodys_way(tmp_path: Path, busy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LOCK_WAIT", 1)
    assert run(commands.under_command_lock("globex", "echo ran"), tmp_path).stdout == "ran\n"


def test_what_a_command_leaves_running_does_not_hold_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A container's monitor outlives the command that started it by months.
    monkeypatch.setattr(commands, "LOCK_WAIT", 1)
    left = run(commands.under_command_lock("acme", "sleep 20 >/dev/null 2>&1 & echo $!"), tmp_path)
    try:
        assert run(commands.under_command_lock("acme", "echo ran"), tmp_path).stdout == "ran\n"
    finally:
        os.kill(int(left.stdout), 9)


def test_the_lock_is_free_again_when_its_holder_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LOCK_WAIT", 1)
    command = commands.under_command_lock("acme", "echo begun; exec sleep 30").get_raw_value()
    with subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        os.killpg(other.pid, 9)
    assert run(commands.under_command_lock("acme", "echo ran"), tmp_path).stdout == "ran\n"


def test_a_file_is_written_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    for text in ("first\n", "second, longer\nthan the first\n", ""):
        assert run(commands.write_files("acme", [File("a/b/some.conf", text)]), tmp_path).returncode == 0
        written = tmp_path / "a/b/some.conf"
        assert written.read_text() == text
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
        assert [path.name for path in written.parent.iterdir()] == ["some.conf"]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_several_files_are_written_at_once_each_with_its_own_text_and_mode(tmp_path: Path) -> None:
    files = [File("a/one.sh", "one\n\n", "0700"), File("a/b/two", ""), File("three", "no end of line")]
    assert run(commands.write_files("acme", files), tmp_path).returncode == 0
    for file in files:
        written = tmp_path / file.path
        assert (written.read_text(), stat.S_IMODE(written.stat().st_mode)) == (file.text, int(file.mode, 8))
    assert sorted(path.name for path in (tmp_path / "a").rglob("*")) == ["b", "one.sh", "two"]


def test_a_long_text_takes_no_longer_than_a_command_may(tmp_path: Path) -> None:
    files = [File("one", "a baseline's line, ünd such\n" * 20_000), File("two", f"text\n{commands.END}\n")]
    began = time.monotonic()
    assert run(commands.write_files("acme", files), tmp_path).returncode == 0
    assert time.monotonic() - began < commands.INPUT_WAIT
    assert [(tmp_path / file.path).read_text() for file in files] == [file.text for file in files]


def test_a_file_gets_the_mode_asked_for(tmp_path: Path) -> None:
    run(commands.write_files("acme", [File("guard.sh", "#!/bin/sh\n", "0700")]), tmp_path)
    assert stat.S_IMODE((tmp_path / "guard.sh").stat().st_mode) == 0o700


def test_a_files_text_is_on_no_command_line(tmp_path: Path) -> None:
    command = as_sent(commands.write_files("acme", [File("some.conf", "hunter2\n")]))
    assert command.files == {"some.conf": ("hunter2\n", "0600")}
    assert "hunter2" not in command.text


def test_a_files_text_is_in_no_process_that_anybody_can_look_at(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    look = f'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null > {tmp_path}/seen; exec /bin/mv "$@"'
    (tools / "mv").write_text(f"#!/bin/sh\n{look}\n")
    (tools / "mv").chmod(0o755)
    command = commands.write_files("acme", [File("some.conf", "hunter2-never-seen\n")])
    assert run(command, tmp_path, PATH=f"{tools}:{os.environ['PATH']}").returncode == 0
    seen = (tmp_path / "seen").read_bytes()
    assert b"some.conf" in seen
    assert b"hunter2-never-seen" not in seen


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_input_that_does_not_arrive_whole_does_nothing(tmp_path: Path, share: float) -> None:
    # sshd closes a command's input when its connection ends, wherever that was.
    assert run(commands.write_files("acme", [File("some.conf", "former\n")]), tmp_path).returncode == 0
    asked = as_sent(commands.write_files("acme", [File("some.conf", "new, " * 100)]))
    arrived = asked.given[: int(len(asked.given) * share)]
    done = subprocess.run(
        ["/bin/sh", "-c", asked.text], input=arrived, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "acme: the input of a command arrived incomplete\nHINT: run the deploy again\n"
    assert (tmp_path / "some.conf").read_text() == "former\n"


def test_a_command_that_waits_for_its_input_is_in_nobodys_way_and_gives_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its line is cut without a word: the input neither comes nor ends.
    monkeypatch.setattr(commands, "LOCK_WAIT", 1)
    monkeypatch.setattr(commands, "INPUT_WAIT", 3)
    text = as_sent(commands.write_files("acme", [File("some.conf", "new\n")])).text
    with subprocess.Popen(["/bin/sh", "-c", text], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as cut:
        time.sleep(0.5)
        assert run(commands.under_command_lock("acme", "echo ran"), tmp_path).stdout == "ran\n"
        assert cut.wait(timeout=60) == 1
    assert not (tmp_path / "some.conf").exists()


def test_a_writer_that_dies_leaves_the_former_file_whole(tmp_path: Path) -> None:
    run(commands.write_files("acme", [File("some.conf", "former\n")]), tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mv").write_text("#!/bin/sh\nkill -9 $PPID\n")
    (tools / "mv").chmod(0o755)
    command = commands.write_files("acme", [File("some.conf", "new\n")])
    assert run(command, tmp_path, PATH=f"{tools}:{os.environ['PATH']}").returncode != 0
    assert (tmp_path / "some.conf").read_text() == "former\n"
    assert run(command, tmp_path).returncode == 0
    assert (tmp_path / "some.conf").read_text() == "new\n"


def test_a_file_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where a directory is wanted")
    assert run(commands.write_files("acme", [File("occupied/some.conf", "text\n")]), tmp_path).returncode != 0


def test_the_carried_tenants_are_asked_for_by_the_label_that_tenants_get() -> None:
    asked = Sent(InstalledTenants().command(facts=FACTS).get_raw_value())
    assert asked.script == commands.script("machine/list-tenants.sh")
    assert asked.arguments[:2] == [layout.TENANT_LABEL, f"{layout.HOME}/tenants"]


def test_a_script_that_asks_for_the_common_functions_is_sent_with_them() -> None:
    library = (TEMPLATES / "lib.sh").read_text()
    asking = [name for name in SCRIPTS if (TEMPLATES / name).read_text().startswith("# uses lib.sh\n")]
    assert len(asking) > 5
    for name in SCRIPTS:
        text = (TEMPLATES / name).read_text()
        assert commands.script(name) == (library + text if name in asking else text)


FUNCTION = re.compile(r"^([a-z_]+)\(\) \{", re.MULTILINE)


def test_every_common_function_is_used_by_a_script_that_asks_for_it_and_by_no_other() -> None:
    lib = (TEMPLATES / "lib.sh").read_text()
    functions = set(FUNCTION.findall(lib))
    # One that only its neighbours call counts, too.
    used = {name for name in functions if len(re.findall(rf"^[^#\n]*\b{name}\b", lib, re.MULTILINE)) > 1}
    for name in SCRIPTS:
        text = (TEMPLATES / name).read_text()
        called = {function for function in functions if re.search(rf"^[^#]*\b{function}\b", text, re.MULTILINE)}
        called -= set(FUNCTION.findall(text))
        assert not called or text.startswith("# uses lib.sh\n"), f"{name} calls {called} and does not ask for lib.sh"
        used |= called
    assert used == functions


@pytest.mark.parametrize("shell", [["sh"], ["busybox", "sh"]], ids=["sh", "busybox"])
def test_a_file_that_a_script_writes_is_replaced_whole_or_the_script_fails(tmp_path: Path, shell: list[str]) -> None:
    text = f'{(TEMPLATES / "lib.sh").read_text()}\numask 077; printf %s "$2" | write_file "$1"'
    for path, content in (("a/b/some.conf", "first\n"), ("a/b/some.conf", "$(id)\n%s"), ("plain", "")):
        done = subprocess.run([*shell, "-c", text, "sh", path, content], cwd=tmp_path, check=False)
        assert (done.returncode, (tmp_path / path).read_text()) == (0, content)
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["some.conf"]
    done = subprocess.run(
        [*shell, "-c", text, "sh", "plain/x", "y"], cwd=tmp_path, stderr=subprocess.DEVNULL, check=False
    )
    assert done.returncode != 0


SCRIPTS = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.sh"))


def test_there_are_scripts_to_read() -> None:
    assert {"container/init.sh", "container/observe.sh", "container/start.sh", "entrypoint/guard.sh"} <= set(SCRIPTS)
    assert {"machine/build-image.sh", "machine/facts.sh", "machine/probe.sh"} <= set(SCRIPTS)


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    paths = [TEMPLATES / name for name in SCRIPTS]
    checked = subprocess.run([shellcheck, "--shell=sh", *paths], capture_output=True, text=True, check=False)
    assert checked.stdout == ""


@pytest.mark.parametrize("shell", [["sh"], ["busybox", "sh"]], ids=["sh", "busybox"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_understood_by_the_plainest_shell(name: str, shell: list[str]) -> None:
    checked = subprocess.run([*shell, "-n", TEMPLATES / name], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_command_without_an_end_is_ended_and_says_so(tmp_path: Path) -> None:
    done = run(commands.under_command_lock("acme", "sleep 20", timeout=1), tmp_path)
    assert done.returncode == 124
    assert "acme: a command was stopped after 1 s without an answer\nHINT: " in done.stderr
