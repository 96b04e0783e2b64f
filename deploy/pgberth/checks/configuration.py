"""The server runs with its configuration, keeps what it confirmed, and publishes the stored password only."""

from __future__ import annotations

from collections.abc import Iterator

from pgberth.checks.context import Check, CheckContext, one
from pgberth.database.operations import connection_files, digest, is_current
from pgberth.database.settings import OURS, desired_settings, setting_drift
from pgberth.model import layout

_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


def _configuration(context: CheckContext) -> Iterator[str]:
    yield from context.server.config_errors
    for name, text in context.files.items():
        if name != context.hba and not is_current(context.state, name, text):
            yield f"{name} is not the wanted one"
    # Missing while a change waits for a new container: the running one keeps what it was created with.
    if OURS in context.files:
        yield from map(str, setting_drift(desired_settings(context.files[OURS]), context.server.settings))


def _durable(context: CheckContext) -> Iterator[str]:
    for name in _DURABLE:
        # As the app sees it: a role or a database may have another value than the server.
        found = one(context.client().cursor(), "SELECT current_setting(%s)", [name])
        if found != "on":
            yield f"{name} is {found}"
    if not context.server.checksums:
        yield "data checksums are off"
    if not context.server.data_directory.startswith(f"{layout.VOLUME_MOUNT}/"):
        yield f"data_directory {context.server.data_directory} is outside the volume"


def _connection_files(context: CheckContext) -> Iterator[str]:
    published = connection_files(context.tenant, context.state.spec, context.state.home, context.password)
    for path, text in published.items():
        if context.state.files.get(path) != digest(text):
            yield f"{path} is not the wanted one" if path in context.state.files else f"{path} is missing"
    secrets = [f"secrets/{name}" for name in sorted(context.state.secrets)]
    for path in (*published, *secrets):
        found = context.state.modes.get(path, "600")
        if found != "600":
            yield f"{path} has mode 0{found}, wanted 0600"


CHECKS = (
    Check(
        "configuration", "its files are the wanted ones, and the server runs with them", _configuration, observed=True
    ),
    Check("durable", "what is committed is on its volume, checked, and outlives a crash", _durable),
    Check(
        "connection-files",
        "what clients read is the stored password, for its owner only",
        _connection_files,
        observed=True,
    ),
)
