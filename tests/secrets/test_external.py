"""Passwords from elsewhere: fetched once each, everything that is wrong listed together, and none ever shown."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pgberth.model.problems import Refused
from pgberth.model.secret import Secret
from pgberth.secrets import external as sources
from tests.sample import ACME

ONE, TWO = "one-aaaaaaaaaaaaaaaa", "two-bbbbbbbbbbbbbbbb"


def asked(**references: str) -> dict[str, sources.ExternalPasswords]:
    return sources.resolve([replace(ACME, secrets=references)])


def refused(**references: str) -> list[str]:
    with pytest.raises(Refused) as caught:
        asked(**references)
    return [problem.fact for problem in caught.value.problems]


def python(code: str) -> str:
    return f"secret://command/{sys.executable} -c '{code}'"


def test_a_variable_gives_its_value_and_is_seen_by_no_process_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGBERTH_TEST_APP", ONE)
    assert asked(app="secret://env/PGBERTH_TEST_APP") == {"acme": {"app": Secret(ONE)}}
    assert "PGBERTH_TEST_APP" not in os.environ
    assert asked(app="secret://env/PGBERTH_TEST_APP") == {"acme": {"app": Secret(ONE)}}


def test_a_file_gives_its_line(tmp_path: Path) -> None:
    (tmp_path / "acme").write_text(f"{ONE}\n")
    (tmp_path / "acme").chmod(0o600)
    assert asked(app=f"secret://file{tmp_path}/{{tenant}}") == {"acme": {"app": Secret(ONE)}}


def test_a_command_gives_the_line_that_it_prints() -> None:
    assert asked(app=python(f'print("{ONE}")')) == {"acme": {"app": Secret(ONE)}}


def test_a_tenant_that_names_no_source_is_given_nothing() -> None:
    assert sources.resolve([ACME]) == {}


def test_all_that_does_not_resolve_is_listed_together(tmp_path: Path) -> None:
    assert refused(
        superuser="secret://env/PGBERTH_TEST_NOT_SET",
        migrator=f"secret://file{tmp_path}/none",
        app="secret://command/pgberth-no-such-program",
        monitor=python("import sys; sys.exit(3)"),
    ) == [
        "acme: password of superuser: secret://env/PGBERTH_TEST_NOT_SET is not set",
        f"acme: password of migrator: secret://file{tmp_path}/none cannot be read: No such file or directory",
        "acme: password of app: secret://command/pgberth-no-such-program cannot be read: No such file or directory",
        f"acme: password of monitor: {python('import sys; sys.exit(3)')} ended with exit code 3; "
        "run that command yourself to see why",
    ]


@pytest.mark.parametrize(
    "code",
    [
        'print("hunter2")',
        f'print("{ONE}"); print("{TWO}")',
        f'print("{ONE} ")',
        "pass",
        f'import sys; print("{ONE}", file=sys.stderr); sys.exit(1)',
        f'import sys; sys.stdout.buffer.write(b"{ONE}\\xff")',
    ],
)
def test_what_is_no_password_is_refused_and_nothing_of_it_is_shown(code: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(code)
    (told,) = refused(app=f"secret://command/{sys.executable} {program}")
    assert "hunter2" not in told
    assert ONE not in told
    assert TWO not in told


def test_a_command_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_SECONDS", 0.2)
    (told,) = refused(app="secret://command/sleep 20")
    assert told == "acme: password of app: secret://command/sleep 20 gave no answer within 0.2 s"


def test_a_command_does_not_wait_for_somebody_to_type() -> None:
    (told,) = refused(app=python("input()"))
    assert "ended with exit code 1" in told


def test_one_password_opens_one_role_of_one_tenant(tmp_path: Path) -> None:
    (tmp_path / "both").write_text(ONE)
    (tmp_path / "both").chmod(0o600)
    shared = {"app": f"secret://file{tmp_path}/both"}
    with pytest.raises(Refused) as caught:
        sources.resolve([replace(ACME, secrets=shared), replace(ACME, name="globex", secrets=shared)])
    assert [problem.fact for problem in caught.value.problems] == [
        "app of acme and app of globex have the same password"
    ]
    assert refused(app=shared["app"], migrator=shared["app"]) == [
        "app of acme and migrator of acme have the same password"
    ]


def test_only_a_plain_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "directory", Path("/dev/zero")):
        (told,) = refused(app=f"secret://file{path}")
        assert told == f"acme: password of app: secret://file{path} is not a plain file"


@pytest.mark.parametrize(
    ("mode", "safe"), [(0o600, True), (0o440, True), (0o644, False), (0o602, False), (0o620, False)]
)
def test_a_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int, safe: bool) -> None:
    (tmp_path / "acme").write_text(ONE)
    (tmp_path / "acme").chmod(mode)
    (tmp_path / "link").symlink_to("acme")
    if safe:
        assert asked(app=f"secret://file{tmp_path}/link") == {"acme": {"app": Secret(ONE)}}
    else:
        (told,) = refused(app=f"secret://file{tmp_path}/link")
        assert told.endswith(f"link has mode {mode:04o}: others may read or change it, and chmod 0600 ends that")


def test_a_file_or_an_output_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "long").touch(0o600)
    os.truncate(tmp_path / "long", 1 << 40)
    assert refused(app=f"secret://file{tmp_path}/long", migrator="secret://command/cat /dev/zero") == [
        f"acme: password of app: secret://file{tmp_path}/long has more than 4096 bytes",
        "acme: password of migrator: secret://command/cat /dev/zero prints more than 4096 bytes",
    ]


def test_a_command_that_closed_its_output_and_goes_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_SECONDS", 0.5)
    (told,) = refused(app="secret://command/sh -c 'exec >&-; exec sleep 20'")
    assert told.endswith("gave no answer within 0.5 s")
