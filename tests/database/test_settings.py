"""A server's live settings against its postgresql.conf: the same amount in other words is the same."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from psycopg.rows import class_row

from pgberth.database.settings import desired_settings, setting_drift
from pgberth.model.profile import COMMON, PROFILES, SINCE, Profile, for_major
from pgberth.model.server import LiveSetting
from pgberth.rendering.configuration import postgresql_conf
from tests.postgres import Server, running_server

SETTING = LiveSetting("shared_buffers", "8192", "8kB", "postmaster", "postgresql.conf")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_read_back_as_it_was_rendered(profile: str) -> None:
    lines = PROFILES[profile].lines()
    assert desired_settings(postgresql_conf(lines)) == lines


def test_quotes_and_backslashes_are_read_back() -> None:
    lines = {"log_line_prefix": r"it's %m \ %q"}
    assert desired_settings(postgresql_conf(lines)) == lines


SAME = [
    ("64MB", "8192", "8kB"),
    ("64MB", "65536", "kB"),
    ("15min", "900", "s"),
    ("60s", "60000", "ms"),
    ("1s", "1000", "ms"),
    ("1.1", "1.1", ""),
    ("23", "23", ""),
    ("on", "on", ""),
    ("%m [%p] ", "%m [%p] ", ""),
]
OTHER = [("64MB", "8193", "8kB"), ("15min", "15", "s"), ("on", "off", ""), ("lz4", "pglz", ""), ("*", "localhost", "")]


@pytest.mark.parametrize(("desired", "value", "unit"), SAME)
def test_the_same_amount_is_the_same_whatever_its_unit(desired: str, value: str, unit: str) -> None:
    assert list(setting_drift({"x": desired}, [LiveSetting("x", value, unit, "sighup", "postgresql.conf")])) == []


@pytest.mark.parametrize(("desired", "value", "unit"), OTHER)
def test_another_value_is_told(desired: str, value: str, unit: str) -> None:
    assert [found.name for found in setting_drift({"x": desired}, [LiveSetting("x", value, unit, "sighup", "x")])] == [
        "x"
    ]


def test_what_differs_is_told_with_what_mends_it() -> None:
    (found,) = setting_drift({"shared_buffers": "32MB"}, [SETTING])
    assert str(found) == "shared_buffers is 8192 x 8kB, wanted 32MB; only a new container applies it"
    (found,) = setting_drift({}, [replace(SETTING, context="sighup", source="command line")])
    assert str(found) == "shared_buffers is 8192 x 8kB, not wanted, and comes from command line"
    (found,) = setting_drift({"fsync": "on"}, [])
    assert str(found) == "fsync is not set, wanted on"


def test_what_the_guard_says_is_no_stranger() -> None:
    names = ("config_file", "data_directory", "hba_file", "ident_file")
    assert list(setting_drift({}, [LiveSetting(name, "/x", "", "postmaster", "command line") for name in names])) == []


# Of a container, or not in the tests' build of the server.
_ELSEWHERE = {"listen_addresses", "unix_socket_directories", "dynamic_shared_memory_type", "wal_compression"}


@pytest.mark.parametrize("major", [18, 16])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_server_that_runs_with_a_profile_is_like_it_in_every_setting(profile: str, major: int) -> None:
    text = for_major(postgresql_conf(PROFILES[profile].lines()), major)
    lines = {name: value for name, value in desired_settings(text).items() if name not in _ELSEWHERE}
    with running_server(major, {**lines, "wal_level": "replica"}) as cluster:
        told = _told(cluster)
        assert list(setting_drift(lines, [setting for setting in told if setting.name in lines])) == []
        assert (
            {setting.name for setting in told}
            >= set(lines)
            > {name for name in COMMON if SINCE.get(name, 0) <= major} - _ELSEWHERE
        )


def test_a_setting_is_left_out_below_the_major_that_brought_it_and_only_there() -> None:
    text = postgresql_conf(PROFILES["large"].lines())
    assert for_major(text, 18) == text
    assert set(desired_settings(text)) - set(desired_settings(for_major(text, 16))) == set(SINCE)
    assert "max_notify_queue_pages" in for_major(text, 17)
    assert "io_method" not in for_major(text, 17)


@pytest.mark.parametrize(("name", "major"), SINCE.items())
def test_every_setting_that_is_left_out_is_unknown_there_and_known_later(
    name: str, major: int, postgres16: Server, postgres18: Server
) -> None:
    with postgres16.connect() as old, postgres18.connect() as new:
        asked = "SELECT count(*) FROM pg_settings WHERE name = %s"
        assert [session.execute(asked, [name]).fetchone() for session in (old, new)] == [(0,), (1,)]
    assert major in (17, 18)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_container_has_memory_for_its_buffers_and_two_index_builds(profile: Profile) -> None:
    def megabytes(text: str) -> int:
        number, unit = re.fullmatch(r"([0-9]+)(m|g|MB|GB)", text).groups()  # type: ignore[union-attr]
        return int(number) * (1024 if unit[0] in "gG" else 1)

    shm, buffers = megabytes(profile.shm), megabytes(profile.settings["shared_buffers"])
    assert shm >= 2 * megabytes(profile.settings["maintenance_work_mem"]) + 64
    assert buffers + shm < megabytes(profile.memory)
    assert buffers <= megabytes(profile.memory) * 4 // 10
    # Connections are twice as many as their slots until the server knows what they are.
    assert profile.pids > 2 * (int(profile.settings["max_connections"]) + 3) + 8 + 3 + 4


def _told(cluster: Server) -> list[LiveSetting]:
    with cluster.connect() as session, session.cursor(row_factory=class_row(LiveSetting)) as cursor:
        cursor.execute(
            "SELECT name, setting AS value, coalesce(unit, '') AS unit, context, source FROM pg_settings"
            " WHERE source IN ('configuration file', 'command line')"
        )
        return cursor.fetchall()
