"""The spec file of a tenant: the only record of what should run on its machine. It is replaced by an atomic rename."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pgberth.model import layout
from pgberth.model.roles import APP_LOGINS, PASSWORD_KINDS, SECRETS

# What the file says of the container; everything else in it outlives a container.
OF_THE_CONTAINER = ("generation", "image", "port", "profile", "supervisor", "hash", "rollout", "listen")


@dataclass(frozen=True)
class SpecFile:
    """
    A spec file, read. It is false where there is no file, or none that can be understood.

    + body: the JSON object as it is in the file; keys that this release does not know are kept
    """

    body: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> SpecFile:
        """An empty one where the text is not a spec file: half a file, or one that somebody else wrote."""
        try:
            body = json.loads(text or "{}")
        except ValueError:
            return cls()
        whole = isinstance(body, dict) and all(type(body.get(number)) is int for number in ("generation", "port"))
        return cls(body) if whole else cls()

    def __bool__(self) -> bool:
        return bool(self.body)

    def text(self) -> str:
        """As it is written."""
        return json.dumps(self.body, indent=2, sort_keys=True) + "\n"

    def updated(self, changes: Mapping[str, Any]) -> SpecFile:
        return SpecFile({**self.body, **changes})

    def without(self, *names: str) -> SpecFile:
        return SpecFile({name: value for name, value in self.body.items() if name not in names})

    @property
    def generation(self) -> int | None:
        """The number of the live volume."""
        found: int | None = self.body.get("generation")
        return found

    @property
    def port(self) -> int | None:
        found: int | None = self.body.get("port")
        return found

    @property
    def major(self) -> int | None:
        """PostgreSQL's major version in the volume."""
        found: int | None = self.body.get("major")
        return found

    @property
    def image(self) -> str:
        return str(self.body.get("image", ""))

    @property
    def hash(self) -> str:
        """Fingerprint of the container that should run."""
        return str(self.body.get("hash", ""))

    @property
    def rollout_hash(self) -> str:
        """Fingerprint of what a ring tries before the next one; see ContainerSpec."""
        return str(self.body.get("rollout", ""))

    @property
    def retired(self) -> str:
        """The day on which the tenant was retired; "" while it is in service."""
        return str(self.body.get("retired", ""))

    @property
    def has_sidecar(self) -> bool:
        return "sidecar" in self.body

    @property
    def sidecar(self) -> Mapping[str, Any]:
        """What should run beside the server; empty where nothing should."""
        found = self.body.get("sidecar")
        return found if isinstance(found, dict) else {}

    @property
    def of_the_container(self) -> dict[str, Any]:
        """The part that a recycle replaces."""
        return {name: self.body[name] for name in OF_THE_CONTAINER if name in self.body}

    @property
    def listening(self) -> Mapping[str, Any]:
        """Where the server listens beyond loopback; see Listen.published. Empty where it does not."""
        found = self.body.get("listen")
        whole = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("address", "host", "file"))
        return found if isinstance(found, dict) and whole else {}

    @property
    def secret_names(self) -> dict[str, str]:
        """Kind of secret -> name of its file; version 1 where the spec file names none yet."""
        named = self.body.get("secrets")
        names = named if isinstance(named, dict) else {}
        return {kind: _safe_name(names.get(kind)) or layout.secret(kind, 1) for kind in SECRETS}

    def secret_version(self, kind: str) -> int:
        """The number in the name of that kind's secret."""
        return int(self.secret_names[kind].rpartition("-v")[2])

    @property
    def app_login(self) -> str:
        """The role that the app logs in as. The other one is idle, except during a rotation."""
        found = self.body.get("app_login")
        return found if isinstance(found, str) and found in APP_LOGINS else APP_LOGINS[0]

    @property
    def previous_login(self) -> str | None:
        """The app's login role whose clients a rotation still waits for; None where no rotation is under way."""
        found = self.body.get("former_login")
        return found if isinstance(found, str) and found in APP_LOGINS and found != self.app_login else None

    @property
    def open_logins(self) -> tuple[str, ...]:
        """The app's roles that may log in."""
        return (self.app_login, *([self.previous_login] if self.previous_login else []))

    @property
    def password_kinds(self) -> dict[str, str]:
        """Role that logs in -> the kind of secret that is its password. Of the app's two roles, the present one."""
        others = {role: kind for role, kind in PASSWORD_KINDS.items() if kind != "app"}
        return {**others, self.app_login: "app"}


def _safe_name(name: object) -> str | None:
    # root reads files by these names, and the account wrote them: nothing in a name may lead out of the directory.
    return name if isinstance(name, str) and re.fullmatch(r"[a-z]+-v[0-9]+", name) else None
