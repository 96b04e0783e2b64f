"""Facts: what a machine has, what its service account has, and what one run knows of both."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
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


class MachineObservation(FactBase[MachineFacts | None]):
    """What the machine has; None where its facts could not be read."""

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
    What templates/machine/probe.sh found out. It is recorded on the machine for the tenants' operations.

    + podman: its version
    + runtime: the OCI runtime that works; "" where podman's own choice works
    + driver: podman's storage driver
    + limits: whether memory and pids limits are enforced
    + home: the account's home
    + images: tag -> image
    + units: whether the account's own systemd answers
    + volumes: the directory where podman keeps volumes; "" where it is unknown
    """

    podman: str
    runtime: str
    driver: str
    limits: bool
    home: str
    images: dict[str, BuiltImage]
    units: bool = False
    volumes: str = ""

    @classmethod
    def from_probe(cls, lines: list[str], facts: MachineFacts, images: Mapping[str, BuiltImage]) -> MachineProfile:
        """
        + lines: the probe's `key=value` lines
        + images: tag -> image, of all that the machine's tenants run from
        """
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        return cls(
            podman=facts.podman,
            runtime=values["runtime"],
            driver=values["driver"],
            limits={"memory", "pids"} <= set(values["controllers"].strip("[]").split()),
            home=facts.home,
            images=dict(images),
            units=values.get("user_systemd") == "yes",
            volumes=values.get("volumes", ""),
        )

    def to_json(self) -> str:
        body = {**vars(self), "images": {tag: vars(image) for tag, image in self.images.items()}}
        return json.dumps(body, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> MachineProfile | None:
        """None where the text is empty or of another version; the machine's operations then write a new one."""
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


_ORPHANED = "could not find any running process"  # podman's words


@dataclass(frozen=True)
class AccountFacts:
    """
    What the service account has: its images, and what the last probe recorded.

    + images: tag -> image
    + machine_profile: None where none is recorded
    + unknown: tag -> id of an image without labels of ours that was not inspected yet
    + digests: tag -> every manifest's digest that led to the image, of images that came from a registry
    + orphaned: podman refuses every command, since all processes that it counts on are gone
    """

    images: dict[str, BuiltImage]
    machine_profile: MachineProfile | None
    unknown: dict[str, str] = field(default_factory=dict)
    digests: dict[str, tuple[str, ...]] = field(default_factory=dict)
    orphaned: bool = False

    def id_of(self, tag: str) -> str:
        """The id of the image with this tag; "" where there is none."""
        return self.images[tag].id if tag in self.images else self.unknown.get(tag, "")

    def digest_of(self, tag: str) -> str:
        """The digest recorded for this tag, even where the image is gone; "" where none is recorded."""
        recorded = self.machine_profile.images.get(tag) if self.machine_profile is not None else None
        found = self.digests.get(tag, ())
        return found[0] if found else recorded.digest if recorded is not None else ""


class AccountObservation(FactBase[AccountFacts]):
    """The service account's images, and what machine.json records of its machine."""

    def command(self, facts: MachineFacts, tags: tuple[str, ...]) -> StringCommand:
        script = commands.script("machine/account-facts.sh")
        return as_account(facts, script, layout.MACHINE_FILE, *tags, timeout=60)

    def process(self, output: list[str]) -> AccountFacts:
        listed = [_ListedImage.parse(line) for line in output if line.startswith('{"tag"')]
        files = [line for line in output if line.startswith("{") and not line.startswith('{"tag"')]
        machine_profile = MachineProfile.from_json(files[-1]) if files else None
        inspected = {image.id: image for image in machine_profile.images.values()} if machine_profile else {}
        found = {one.tag: BuiltImage.from_labels(one.id, one.labels) or inspected.get(one.id) for one in listed}
        digests = {one.tag: one.digests for one in listed if one.digests}
        images = {
            tag: replace(image, digest=digests[tag][0] if tag in digests else "")
            for tag, image in found.items()
            if image is not None
        }
        unknown = {one.tag: one.id for one in listed if found[one.tag] is None}
        orphaned = any(_ORPHANED in line for line in output)
        return AccountFacts(images, machine_profile, unknown, digests, orphaned)

    @staticmethod
    def default() -> AccountFacts:
        return AccountFacts({}, None)


@dataclass(frozen=True)
class _ListedImage:
    """
    An image as podman lists it.

    + digests: of its manifests, its own first; empty where it did not come from a registry
    """

    tag: str
    id: str
    labels: dict[str, str]
    digests: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> _ListedImage:
        try:
            found = json.loads(line)
            tag = str(found["tag"])
            digests = [found.get("digest"), *(one.rpartition("@")[2] for one in found.get("digests") or ())]
            kept = tuple(dict.fromkeys(filter(None, digests))) if tag.startswith(REGISTRY_TAG) else ()
            return cls(tag, str(found["id"]), dict(found["labels"] or {}), kept)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FactProcessError(f"unexpected answer from podman image inspect: {error!r}") from error


def observe(machine: Machine) -> MachineFacts | None:
    """What the current host, this machine, has; None where its facts could not be read."""
    try:
        found: MachineFacts | None = host.get_fact(MachineObservation, account=machine.account)
    except PyinfraError:
        # pyinfra raises this after the run's last host has failed. It has printed the reason; from here the operator
        # would see a stack trace.
        return None
    return found


class MachineContext:
    """
    What one run knows of a machine: read once, and again after each change.

    + images: those that its tenants run from
    """

    def __init__(self, machine: Machine, images: Sequence[Image] = ()):
        self.machine = machine
        self.images = tuple(images)
        self._facts: MachineFacts | None = None
        self._account: AccountFacts | None = None

    def __repr__(self) -> str:
        return f"MachineContext({self.machine.name})"

    def facts(self) -> MachineFacts | None:
        """None where the facts could not be read."""
        if self._facts is None:
            self._facts = observe(self.machine)
            if self._facts is not None and self.images and not any(image.built for image in self.images):
                # A machine that builds no image does not lack the program that builds.
                self._facts = replace(self._facts, programs=self._facts.programs | {"mmdebstrap"})
        return self._facts

    def account(self) -> AccountFacts:
        """What the service account has; nothing where it does not exist yet, or has no home yet."""
        facts = self.facts()
        if facts is None or not facts.uid or not facts.has_home:
            return AccountObservation.default()
        if self._account is None:
            tags = tuple(image.tag for image in self.images)
            try:
                self._account = host.get_fact(AccountObservation, facts=facts, tags=tags)
            except PyinfraError:
                return AccountObservation.default()  # as in observe
        return self._account

    def invalidate(self) -> None:
        self._facts = self._account = None


class InstalledTenants(FactBase[dict[str, set[str]] | None]):
    """
    Tenant -> what the account has of it; None where it could not be listed.

    {"acme": {"container", "volume:acme-data-g1", "directory", "unit:pgberth-acme.container", "retired"}}
    """

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


def installed_tenants(facts: MachineFacts) -> dict[str, set[str]] | None:
    """Tenant -> what the account of the current host has of it; None where it could not be listed."""
    try:
        found: dict[str, set[str]] | None = host.get_fact(InstalledTenants, facts=facts)
    except PyinfraError:
        return None  # as in observe
    return found
