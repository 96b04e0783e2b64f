"""Nouns: what a machine is."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pyinfra import host
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.facts import FactBase

from pgberth import commands
from pgberth.machine.preparation import MachineFacts
from pgberth.model import layout
from pgberth.model.image import REGISTRY_TAG, BuiltImage, Image
from pgberth.model.tenant import Machine


class MachineState(FactBase[MachineFacts | None]):
    """What the machine has; None where it could not be asked."""

    def command(self, account: str) -> StringCommand:
        return commands.shell(commands.script("machine/facts.sh"), account, str(int(time.time())), timeout=30)

    def process(self, output: list[str]) -> MachineFacts:
        try:
            return MachineFacts.parse(output)
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"unexpected answer from facts.sh: {error!r}") from error

    @staticmethod
    def default() -> MachineFacts | None:
        return None


@dataclass(frozen=True)
class MachineProfile:
    """
    What machine work found out, kept on the machine for the tenants: templates/machine/probe.sh's answer.

    + runtime: the OCI runtime chosen, "" for podman's own choice
    + units: whether the account's own systemd answers
    + limits: whether memory and pids limits are enforced
    + images: tag -> image
    + volumes: the directory where podman keeps them, "" where that is not known
    """

    podman: str
    runtime: str
    driver: str
    limits: bool
    home: str
    images: dict[str, BuiltImage]
    units: bool = False
    volumes: str = ""

    def to_json(self) -> str:
        body = {**vars(self), "images": {tag: vars(image) for tag, image in self.images.items()}}
        return json.dumps(body, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> MachineProfile | None:
        """None where there is no such file yet, or it is another version's: machine work makes it anew."""
        try:
            body = json.loads(text)
            images = {tag: BuiltImage(**image) for tag, image in body["images"].items()}
            words = all(isinstance(body[name], str) for name in ("podman", "runtime", "driver", "home"))
            words = words and isinstance(body.get("volumes", ""), str)
            return cls(**{**body, "images": images}) if words else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def as_account(facts: MachineFacts, text: str, *arguments: str, timeout: int) -> StringCommand:
    """Run a script as the service account. Where the caller is that account already, it stays itself."""
    return commands.as_account(facts.account, commands.shell(text, *arguments, timeout=timeout))


@dataclass(frozen=True)
class AccountFacts:
    """
    What the service account has: its images by tag, and what the last run found out.

    + unknown: tag -> id of an image without labels of ours that nobody has looked into yet
    + digests: tag -> every digest of a manifest that led to the image, of those that came from a registry
    """

    images: dict[str, BuiltImage]
    machine_profile: MachineProfile | None
    unknown: dict[str, str] = field(default_factory=dict)
    digests: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def id_of(self, tag: str) -> str:
        """The id of the image under this tag, "" where there is none."""
        return self.images[tag].id if tag in self.images else self.unknown.get(tag, "")

    def digest_of(self, tag: str) -> str:
        """The digest recorded for this tag, whether the image is still there or not; "" where there is none."""
        recorded = self.machine_profile.images.get(tag) if self.machine_profile is not None else None
        found = self.digests.get(tag, ())
        return found[0] if found else recorded.digest if recorded is not None else ""


class AccountState(FactBase[AccountFacts]):
    """The service account's images and machine file."""

    def command(self, facts: MachineFacts, tags: tuple[str, ...]) -> StringCommand:
        script = commands.script("machine/account-facts.sh")
        return as_account(facts, script, layout.MACHINE_FILE, *tags, timeout=60)

    def process(self, output: list[str]) -> AccountFacts:
        told = [_Told.parse(line) for line in output if line.startswith('{"tag"')]
        files = [line for line in output if line.startswith("{") and not line.startswith('{"tag"')]
        machine_profile = MachineProfile.from_json(files[-1]) if files else None
        looked_into = (
            {image.id: image for image in machine_profile.images.values()} if machine_profile is not None else {}
        )
        found = {one.tag: BuiltImage.from_labels(one.id, one.labels) or looked_into.get(one.id) for one in told}
        digests = {one.tag: one.digests for one in told if one.digests}
        images = {
            tag: replace(image, digest=digests[tag][0] if tag in digests else "")
            for tag, image in found.items()
            if image is not None
        }
        unknown = {one.tag: one.id for one in told if found[one.tag] is None}
        return AccountFacts(images, machine_profile, unknown, digests)

    @staticmethod
    def default() -> AccountFacts:
        return AccountFacts({}, None)


@dataclass(frozen=True)
class _Told:
    """What podman says of an image: with its digests, the first its own, where it came from a registry."""

    tag: str
    id: str
    labels: dict[str, str]
    digests: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> _Told:
        try:
            found = json.loads(line)
            tag = str(found["tag"])
            digests = [found.get("digest"), *(one.rpartition("@")[2] for one in found.get("digests") or ())]
            kept = tuple(dict.fromkeys(filter(None, digests))) if tag.startswith(REGISTRY_TAG) else ()
            return cls(tag, str(found["id"]), dict(found["labels"] or {}), kept)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FactProcessError(f"unexpected answer from podman image inspect: {error!r}") from error


def asked(machine: Machine) -> MachineFacts | None:
    """What the current host, this machine, has; None where it could not be asked."""
    try:
        found: MachineFacts | None = host.get_fact(MachineState, account=machine.account)
    except PyinfraError:
        # pyinfra has told what went wrong, and that this was the run's last host: as a stack trace, from here.
        return None
    return found


class MachineContext:
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
            self._facts = asked(self.machine)
            if self._facts is not None and self.images and not any(image.built for image in self.images):
                # It has to build nothing: what builds is not missing there.
                self._facts = replace(self._facts, programs=self._facts.programs | {"mmdebstrap"})
        return self._facts

    def account(self) -> AccountFacts:
        """What the service account has; nothing where there is no account yet, or half of one."""
        facts = self.facts()
        if facts is None or not facts.uid or not facts.housed:
            return AccountState.default()
        if self._account is None:
            tags = tuple(image.tag for image in self.images)
            try:
                self._account = host.get_fact(AccountState, facts=facts, tags=tags)
            except PyinfraError:
                return AccountState.default()  # as in asked
        return self._account

    def invalidate(self) -> None:
        self._facts = self._account = None


class Carried(FactBase[dict[str, set[str]] | None]):
    """Tenant -> what the account has of it: container, volume:NAME, directory, unit:FILE, retired; or None: unknown."""

    def command(self, facts: MachineFacts) -> StringCommand:
        return as_account(
            facts,
            commands.script("machine/list-tenants.sh"),
            layout.TENANT_LABEL,
            f"{layout.HOME}/tenants",
            layout.QUADLETS,
            layout.UNITS,
            layout.unit(""),
            timeout=60,
        )

    def process(self, output: list[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in output:
            name, _, thing = line.partition(" ")
            found.setdefault(name, set()).add(thing)
        return found

    @staticmethod
    def default() -> dict[str, set[str]] | None:
        return None


def carried(facts: MachineFacts) -> dict[str, set[str]] | None:
    """Tenant -> what the account of the current host has of it; None where that could not be asked."""
    try:
        found: dict[str, set[str]] | None = host.get_fact(Carried, facts=facts)
    except PyinfraError:
        return None  # as above
    return found
