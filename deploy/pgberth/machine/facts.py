"""Nouns: what a machine is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.machine.preparation import MachineFacts
from pgberth.model import layout
from pgberth.model.image import BuiltImage, Image
from pgberth.model.tenant import Machine


class MachineState(FactBase[MachineFacts | None]):
    """What the machine has; None where it could not be asked."""

    def command(self, account: str) -> StringCommand:
        return commands.shell(commands.script("machine/facts.sh"), account, timeout=30)

    def process(self, output: list[str]) -> MachineFacts:
        try:
            return MachineFacts.parse(output)
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"unexpected answer from facts.sh: {error!r}") from error

    @staticmethod
    def default() -> MachineFacts | None:
        return None


@dataclass(frozen=True)
class Ready:
    """
    What machine work found out, kept on the machine for the tenants: templates/machine/probe.sh's answer.

    + runtime: the OCI runtime chosen, "" for podman's own choice
    + units: whether the account's own systemd answers
    + limits: whether memory and pids limits are enforced
    + images: tag -> image
    """

    podman: str
    runtime: str
    driver: str
    limits: bool
    home: str
    images: dict[str, BuiltImage]
    units: bool = False

    def to_json(self) -> str:
        body = {**vars(self), "images": {tag: vars(image) for tag, image in self.images.items()}}
        return json.dumps(body, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Ready | None:
        """None where there is no such file yet, or it is another version's: machine work makes it anew."""
        try:
            body = json.loads(text)
            images = {tag: BuiltImage(**image) for tag, image in body["images"].items()}
            words = all(isinstance(body[name], str) for name in ("podman", "runtime", "driver", "home"))
            return cls(**{**body, "images": images}) if words else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def as_account(facts: MachineFacts, text: str, *arguments: str, timeout: int, stdin: Any = None) -> StringCommand:
    """
    Run a script as the service account, in its home, with an environment of its own.

    Where the caller is that account already, no identity changes hands.
    """
    become = ""
    if facts.root:
        become = f"setpriv --reuid={facts.uid} --regid=$(id -g {facts.uid}) --init-groups"
    return StringCommand(
        "cd",
        QuoteString(facts.home),
        f"&& umask 077 && exec {become} env -i LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        QuoteString(f"HOME={facts.home}"),
        QuoteString(f"USER={facts.account}"),
        QuoteString(f"LOGNAME={facts.account}"),
        f"XDG_RUNTIME_DIR=/run/user/{facts.uid}",
        commands.shell(text, *arguments, timeout=timeout),
        _stdin=stdin,
    )


# Every image by its tag, then the machine file; exits 0 where nothing is there.
_ACCOUNT = """for tag in "$@"; do
  format='{"tag": "'"$tag"'", "id": "sha256:{{.Id}}", "labels": {{json .Labels}}}'
  podman image inspect --format "$format" "$tag" 2>/dev/null
done
cat "$HOME/MACHINE_FILE" 2>/dev/null | tr '\\n' ' '
exit 0"""


@dataclass(frozen=True)
class AccountFacts:
    """What the service account has: its images by tag, and what the last run found out."""

    images: dict[str, BuiltImage]
    ready: Ready | None


class AccountState(FactBase[AccountFacts]):
    """The service account's images and machine file."""

    def command(self, facts: MachineFacts, tags: tuple[str, ...]) -> StringCommand:
        return as_account(facts, _ACCOUNT.replace("MACHINE_FILE", layout.MACHINE_FILE), *tags, timeout=60)

    def process(self, output: list[str]) -> AccountFacts:
        images: dict[str, BuiltImage] = {}
        ready = None
        for line in output:
            if line.startswith('{"tag"'):
                tag, image = _image(line)
                if image is not None:
                    images[tag] = image
            elif line.startswith("{"):
                ready = Ready.from_json(line)
        return AccountFacts(images, ready)

    @staticmethod
    def default() -> AccountFacts:
        return AccountFacts({}, None)


def _image(line: str) -> tuple[str, BuiltImage | None]:
    try:
        found = json.loads(line)
        return found["tag"], BuiltImage.from_labels(found["id"], found["labels"] or {})
    except (ValueError, KeyError, TypeError) as error:
        raise FactProcessError(f"unexpected answer from podman image inspect: {error!r}") from error


class Survey:
    """
    What one run knows of a machine: asked once, and again after each change.

    + images: what its tenants want to run from
    """

    def __init__(self, machine: Machine, images: Sequence[Image] = ()):
        self.machine = machine
        self.images = tuple(images)
        self._facts: MachineFacts | None = None
        self._account: AccountFacts | None = None

    def __repr__(self) -> str:
        return f"Survey({self.machine.name})"

    def facts(self) -> MachineFacts | None:
        """None where the machine could not be asked."""
        if self._facts is None:
            self._facts = host.get_fact(MachineState, account=self.machine.account)
        return self._facts

    def account(self) -> AccountFacts:
        """What the service account has; nothing where there is no account yet."""
        facts = self.facts()
        if facts is None or not facts.uid:
            return AccountState.default()
        if self._account is None:
            self._account = host.get_fact(AccountState, facts=facts, tags=tuple(image.tag for image in self.images))
        return self._account

    def forget(self) -> None:
        self._facts = self._account = None


_CARRIED = """podman ps --all --filter label=LABEL --format '{{ index .Labels "LABEL" }} container'
podman volume ls --filter label=LABEL --format '{{ index .Labels "LABEL" }} volume:{{ .Name }}'
for place in "$HOME"/TENANTS/*/; do [ ! -d "$place" ] || printf '%s directory\\n' "$(basename "$place")"; done
exit 0"""


class Carried(FactBase[dict[str, set[str]]]):
    """Tenant -> what the account holds of it: container, volume:NAME, directory."""

    def command(self, facts: MachineFacts) -> StringCommand:
        text = _CARRIED.replace("LABEL", layout.TENANT_LABEL).replace("TENANTS", f"{layout.HOME}/tenants")
        return as_account(facts, text, timeout=60)

    def process(self, output: list[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in output:
            name, _, thing = line.partition(" ")
            found.setdefault(name, set()).add(thing)
        return found

    @staticmethod
    def default() -> dict[str, set[str]]:
        return {}
