"""Whether a server runs with the settings of its postgresql.conf: the file compared with pg_settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pgberth.model.server import LiveSetting

OURS = "postgresql.conf"
# The guard sets these on the server's command line; the checks of the volume and of pg_hba.conf cover them.
_OF_THE_GUARD = frozenset({"config_file", "data_directory", "hba_file", "ident_file"}) | frozenset(
    {"ssl", "ssl_cert_file", "ssl_key_file"}
)

_UNITS = {
    "B": 1,
    "kB": 2**10,
    "MB": 2**20,
    "GB": 2**30,
    "TB": 2**40,
    "us": 1,
    "ms": 10**3,
    "s": 10**6,
    "min": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 86400 * 10**6,
}


@dataclass(frozen=True)
class SettingDrift:
    """
    A setting that differs from the file.

    + live, desired: None where there is none
    + needs_restart: only a new container applies it
    """

    name: str
    live: str | None
    desired: str | None
    source: str
    needs_restart: bool

    def __str__(self) -> str:
        live = f"is {self.live}" if self.live is not None else "is not set"
        desired = f"wanted {self.desired}" if self.desired is not None else f"not wanted, and comes from {self.source}"
        return f"{self.name} {live}, {desired}" + ("; only a new container applies it" if self.needs_restart else "")


def desired_settings(text: str) -> dict[str, str]:
    """Name -> value, of a postgresql.conf that we rendered."""
    found = (re.fullmatch(r"(\w+) = '(.*)'", line) for line in text.splitlines())
    return {line[1]: line[2].replace("''", "'").replace(r"\\", "\\") for line in found if line is not None}


def setting_drift(desired: Mapping[str, str], live: Iterable[LiveSetting]) -> Iterator[SettingDrift]:
    """Every setting that differs, by name."""
    given = {setting.name: setting for setting in live if setting.name not in _OF_THE_GUARD}
    for name in sorted(desired.keys() | given.keys()):
        asked, found = desired.get(name), given.get(name)
        if found is None:
            yield SettingDrift(name, None, asked, "", needs_restart=False)
        elif asked is None or not _same(asked, found):
            needs_restart = found.context == "postmaster"
            yield SettingDrift(name, f"{found.value}{_unit(found)}", asked, found.source, needs_restart)


def _same(asked: str, found: LiveSetting) -> bool:
    return _amount(asked, found.unit) == _amount(found.value, found.unit)


def _unit(setting: LiveSetting) -> str:
    return f" x {setting.unit}" if setting.unit[:1].isdigit() else setting.unit


def _amount(text: str, unit: str) -> float | str:
    """A number in bytes or microseconds, where it is one; text as it is."""
    number = re.fullmatch(r"(-?[0-9.]+) *([A-Za-z]*)", text)
    if number is None or (number[2] and number[2] not in _UNITS):
        return text
    return float(number[1]) * (_UNITS[number[2]] if number[2] else _scale(unit))


def _scale(unit: str) -> int:
    count, name = re.fullmatch(r"([0-9]*)([A-Za-z]*)", unit).groups()  # type: ignore[union-attr]  # "8kB", "ms", ""
    return int(count or 1) * _UNITS.get(name, 1)
