"""Verbs: the images that the tenants run from are on every machine, the same everywhere, and known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pyinfra import host
from pyinfra.api import StringCommand, operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.machine import transport
from pgberth.machine.archive import Archive
from pgberth.machine.facts import MachineContext, as_account
from pgberth.machine.image_inventory import ImageInventory, ImageState, staged_archive
from pgberth.machine.preparation import MachineFacts
from pgberth.machine.transport import Steps
from pgberth.model.image import BuiltImage, Image
from pgberth.model.problems import Problem
from pgberth.model.tenant import Tenant

_REGISTRY = "runbooks/image-by-registry.md"


def archive_problems(desired: Mapping[str, Tenant]) -> Iterator[Problem]:
    """Of each archive, with one of the tenants that run from it, what is wrong with the file on this machine."""
    for path, tenant in desired.items():
        try:
            Archive.read(path)
        except ValueError as wrong:
            fact = f"{tenant.name}: image archive {path} {wrong}"
            yield Problem(fact, "nothing was touched; runbooks/image-by-archive.md")


def told(context: MachineContext, image_inventory: ImageInventory) -> None:
    """The others know what this machine has."""
    for image in context.images:
        image_inventory.tell(context.machine.name, image, _held(context, image))


def _held(context: MachineContext, image: Image) -> ImageState:
    account = context.account()
    if not image.built:
        return ImageState(account.id_of(image.tag), account.digest_of(image.tag))
    found = account.images.get(image.tag)
    return ImageState(found.id if found is not None and found.recipe == image.recipe else "")


@operation()
def images_made(context: MachineContext, image_inventory: ImageInventory) -> Steps:
    """
    What no machine has yet is made on one of them: built by its present recipe, or its tag asked for at the registry.

    Where others want the same build it is brought here, to the control machine, for them.
    """
    facts, machine = context.facts(), context.machine.name
    if facts is None or not facts.uid:
        return
    for image in context.images:
        if image.built and image_inventory.maker(image) == machine:
            yield from _built(context, facts, image)
            told(context, image_inventory)
        elif image.name and not image_inventory.digest(image) and image_inventory.maker(image) == machine:
            yield _pulled(context, facts, image, image.name)
            told(context, image_inventory)
        if image.built and image_inventory.source(image) == machine and image_inventory.lacking(image):
            image_id = image_inventory.held(machine, image).id
            yield from transport.fetched(context, facts, image_id, staged_archive(image_id))


@operation()
def images_present(context: MachineContext, image_inventory: ImageInventory) -> Steps:
    """
    Every image the machine's tenants want is in the account's store, and is the one that all machines have.

    One of an archive by its id, one of a registry by its digest; a built one as the machine has it that built it.
    """
    facts = context.facts()
    if facts is None or not facts.uid:
        return
    for image in context.images:
        if image.archive:
            yield from _of_archive(context, facts, image)
        elif image.name:
            yield from _of_registry(context, facts, image, image_inventory)
        else:
            yield from _as_elsewhere(context, facts, image, image_inventory)
        told(context, image_inventory)


def _of_archive(context: MachineContext, facts: MachineFacts, image: Image) -> Steps:
    desired = Archive.read(image.archive)
    if context.account().id_of(image.tag) != desired.id:
        path = Path(image.archive).resolve()
        yield from transport.loaded(context, facts, path, desired.id, image.tag, desired.architecture)


def _of_registry(
    context: MachineContext, facts: MachineFacts, image: Image, image_inventory: ImageInventory
) -> Commands:
    account, machine = context.account(), context.machine.name
    desired, mine = image_inventory.digest(image), account.digest_of(image.tag)
    if not desired:
        fact = f"{machine}: nobody could ask {image.name} for its digest; see above"
        yield commands.refuse(Problem(fact, _REGISTRY))
    elif not image.digest and mine and mine != desired:
        fact = f"{machine}: {image.name} is {mine} here, and {desired} on {image_inventory.recorder(image)}"
        hint = f'write the one you want in the inventory: Image(name="{image.name}", digest="..."): {_REGISTRY}'
        yield commands.refuse(Problem(fact, hint))
    elif desired not in account.digests.get(image.tag, ()):
        yield _pulled(context, facts, image, f"{image.repository}@{desired}")


def _as_elsewhere(context: MachineContext, facts: MachineFacts, image: Image, image_inventory: ImageInventory) -> Steps:
    machine, source = context.machine.name, image_inventory.source(image)
    if not source and image_inventory.maker(image) in (machine, ""):  # whose turn it was has failed
        yield from _built(context, facts, image)
    elif not source:
        fact = f"{machine}: image {image.tag} could be built on no machine before this one's turn; see above"
        yield commands.refuse(Problem(fact, "run the deploy again; runbooks/image-is-not-built.md"))
    elif machine in image_inventory.lacking(image):
        image_id = image_inventory.held(source, image).id
        if staged_archive(image_id).exists():
            yield from transport.loaded(context, facts, staged_archive(image_id), image_id, image.tag)
        else:
            fact = f"{machine}: image {image.tag} could not be brought here from {source}; see above"
            yield commands.refuse(Problem(fact, "run the deploy again"))


def _built(context: MachineContext, facts: MachineFacts, image: Image) -> Commands:
    context.invalidate()
    yield as_account(
        facts,
        commands.script("machine/build-image.sh"),
        image.suite,
        image.tag,
        image.recipe,
        str(image.postgres),
        mirror(facts),
        ",".join(image.packages),
        timeout=1800,
    )


def _pulled(context: MachineContext, facts: MachineFacts, image: Image, reference: str) -> StringCommand:
    context.invalidate()
    pull = commands.script("machine/pull-image.sh")
    return as_account(facts, pull, context.machine.name, reference, image.tag, timeout=1800)


def mirror(facts: MachineFacts) -> str:
    """The Debian mirror this machine itself uses, or "" to let mmdebstrap choose its own."""
    if "debian" not in facts.distribution.split():
        return ""
    listed = StringCommand("apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages'")
    done, output = host.run_shell_command(listed)
    for line in output.stdout_lines if done else []:
        origin, component, uri = [*line.split(), "", "", ""][:3]
        if (origin, component) == ("Debian", "main") and "security" not in uri:
            return uri
    return ""


def looked_into(context: MachineContext, facts: MachineFacts) -> dict[str, BuiltImage] | Problem:
    """Tag -> image, of all that the tenants want; one without labels of ours is looked into by a container."""
    have, machine = context.account(), context.machine.name
    for image in context.images:
        if not have.id_of(image.tag):
            return Problem(f"{machine}: image {image.tag} is not there", "run the deploy again")
    known = dict(have.images)
    for tag, image_id in have.unknown.items():
        asked = as_account(facts, commands.script("machine/image-facts.sh"), image_id, timeout=400)
        done, output = host.run_shell_command(asked)
        found = BuiltImage.from_answer(image_id, output.stdout_lines) if done else None
        if found is None:
            fact = f"{machine}: image {tag} has no PostgreSQL with pgvector: {output.stderr or output.stdout}"
            return Problem(fact, "runbooks/image-by-archive.md")
        known[tag] = replace(found, digest=have.digest_of(tag))
    return known
