"""The server runs as it was configured, keeps what it confirmed, and hands out the stored password and no other."""

from __future__ import annotations

from collections.abc import Iterator

from pgberth.checks.context import Check, Subject, one
from pgberth.database.operations import connection_files, digest, is_current
from pgberth.database.settings import OURS, unlike, wanted_settings
from pgberth.model import layout

_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


def _configuration(subject: Subject) -> Iterator[str]:
    yield from subject.server.config_errors
    for name, text in subject.files.items():
        if name != subject.hba and not is_current(subject.state, name, text):
            yield f"{name} is not the wanted one"
    # Not there while a change waits for a new container: then the running one keeps to what it was made with.
    if OURS in subject.files:
        yield from map(str, unlike(wanted_settings(subject.files[OURS]), subject.server.settings))


def _durable(subject: Subject) -> Iterator[str]:
    for name in _DURABLE:
        # As the app has it: a role or a database may be given another value than the server's.
        found = one(subject.app().cursor(), "SELECT current_setting(%s)", [name])
        if found != "on":
            yield f"{name} is {found}"
    if not subject.server.checksums:
        yield "data checksums are off"
    if not subject.server.data_directory.startswith(f"{layout.VOLUME_MOUNT}/"):
        yield f"data_directory {subject.server.data_directory} is outside the volume"


def _connection_files(subject: Subject) -> Iterator[str]:
    published = connection_files(subject.tenant, subject.state.spec, subject.state.home, subject.password)
    for path, text in published.items():
        if subject.state.files.get(path) != digest(text):
            yield f"{path} is not the wanted one" if path in subject.state.files else f"{path} is missing"
    secrets = [f"secrets/{name}" for name in sorted(subject.state.secrets)]
    for path in (*published, *secrets):
        found = subject.state.modes.get(path, "600")
        if found != "600":
            yield f"{path} has mode 0{found}, wanted 0600"


CHECKS = (
    Check("configuration", "its files are the wanted ones, and the server runs with them", _configuration),
    Check("durable", "what is committed is on its volume, checked, and outlives a crash", _durable),
    Check("connection-files", "what clients are given is the stored password, for its owner only", _connection_files),
)
