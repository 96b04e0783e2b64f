"""Operations: every machine has the images that its tenants run from, and all machines have the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pyinfra import host
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.machine import transport
from pgberth.machine.archive import Archive
from pgberth.machine.facts import MachineContext, as_account
from pgberth.machine.image_inventory import ImageInventory, ImageState, staged_archive
from pgberth.machine.preparation import MachineFacts
from pgberth.machine.transport import Transfer
from pgberth.model.image import BuiltImage, Image
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Tenant

_REGISTRY = "runbooks/image-by-registry.md"
_ARCHIVE = "runbooks/image-by-archive.md"


def archive_problems(desired: Mapping[str, Tenant]) -> Iterator[Problem]:
    """
    What is wrong with image archives on this machine.

    + desired: path of an archive -> one of the tenants that run from it
    """
    for path, tenant in desired.items():
        try:
            Archive.read(path)
        except ValueError as wrong:
            yield Problem(f"{tenant.name}: image archive {path} {wrong}", f"nothing was touched; {_ARCHIVE}")


def record_images(context: MachineContext, image_inventory: ImageInventory) -> None:
    """Record for the other machines which images this one has."""
    for image in context.images:
        image_inventory.record(context.machine.name, image, _state(context, image))


def _state(context: MachineContext, image: Image) -> ImageState:
    account = context.account()
    if not image.built:
        return ImageState(account.id_of(image.tag), account.digest_of(image.tag))
    built = account.images.get(image.tag)
    return ImageState(built.id if built is not None and built.recipe == image.recipe else "")


@guarded_operation()
def make_images(context: MachineContext, image_inventory: ImageInventory) -> Transfer:
    """
    Make each image that no machine has, on one machine: build it by its recipe, or resolve its tag at the registry.

    Where other machines need the same build, fetch it to the control machine for them.
    """
    facts = context.facts()
    if facts is None or not facts.uid:
        return
    for image in context.images:
        yield from _make(context, facts, image, image_inventory)
        if image.built:
            yield from _fetch_for_others(context, facts, image, image_inventory)


def _make(context: MachineContext, facts: MachineFacts, image: Image, image_inventory: ImageInventory) -> Commands:
    if image_inventory.builder(image) != context.machine.name:
        return
    if image.built:
        yield _build(context, facts, image)
    elif image.name and not image_inventory.digest(image):
        yield _pull(context, facts, image, image.name)
    else:
        return
    record_images(context, image_inventory)


def _fetch_for_others(
    context: MachineContext, facts: MachineFacts, image: Image, image_inventory: ImageInventory
) -> Transfer:
    machine = context.machine.name
    if image_inventory.source(image) == machine and image_inventory.lacking(image):
        image_id = image_inventory.state(machine, image).id
        yield from transport.fetch_image(context, facts, image_id, staged_archive(image_id))


@guarded_operation()
def provide_images(context: MachineContext, image_inventory: ImageInventory) -> Transfer:
    """
    Put every image that the machine's tenants run from into the account's store: the same one as on all machines.

    An archive's image is known by its id, a registry's by its digest; a built one is the image of the machine that
    built it.
    """
    facts = context.facts()
    if facts is None or not facts.uid:
        return
    for image in context.images:
        if image.archive:
            yield from _provide_archive(context, facts, image)
        elif image.name:
            yield from _provide_by_digest(context, facts, image, image_inventory)
        else:
            yield from _provide_build(context, facts, image, image_inventory)
        record_images(context, image_inventory)


def _provide_archive(context: MachineContext, facts: MachineFacts, image: Image) -> Transfer:
    archive = Archive.read(image.archive)
    if context.account().id_of(image.tag) != archive.id:
        path = Path(image.archive).resolve()
        yield from transport.load_image(context, facts, path, archive.id, image.tag, archive.architecture)


def _provide_by_digest(
    context: MachineContext, facts: MachineFacts, image: Image, image_inventory: ImageInventory
) -> Commands:
    account, machine = context.account(), context.machine.name
    desired, recorded = image_inventory.digest(image), account.digest_of(image.tag)
    if not desired:
        raise Refused.because(f"{machine}: no machine could resolve {image.name} to a digest; see above", _REGISTRY)
    if not image.digest and recorded and recorded != desired:
        fact = f"{machine}: {image.name} is {recorded} here, and {desired} on {image_inventory.digest_source(image)}"
        hint = f'write the one you want in the inventory: Image(name="{image.name}", digest="..."): {_REGISTRY}'
        raise Refused.because(fact, hint)
    if desired not in account.digests.get(image.tag, ()):
        yield _pull(context, facts, image, f"{image.repository}@{desired}")


def _provide_build(
    context: MachineContext, facts: MachineFacts, image: Image, image_inventory: ImageInventory
) -> Transfer:
    machine, source = context.machine.name, image_inventory.source(image)
    if not source:
        # The machine whose turn it was has failed: the next one builds.
        if image_inventory.builder(image) not in (machine, ""):
            fact = f"{machine}: no machine before this one could build image {image.tag}; see above"
            raise Refused.because(fact, "run the deploy again; runbooks/image-is-not-built.md")
        yield _build(context, facts, image)
    elif machine in image_inventory.lacking(image):
        image_id = image_inventory.state(source, image).id
        if not staged_archive(image_id).exists():
            fact = f"{machine}: image {image.tag} could not be brought here from {source}; see above"
            raise Refused.because(fact, "run the deploy again")
        yield from transport.load_image(context, facts, staged_archive(image_id), image_id, image.tag)


def _build(context: MachineContext, facts: MachineFacts, image: Image) -> StringCommand:
    context.invalidate()
    return as_account(
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


def _pull(context: MachineContext, facts: MachineFacts, image: Image, reference: str) -> StringCommand:
    context.invalidate()
    pull = commands.script("machine/pull-image.sh")
    return as_account(facts, pull, context.machine.name, reference, image.tag, timeout=1800)


def mirror(facts: MachineFacts) -> str:
    """The Debian mirror that this machine uses itself; "" to let mmdebstrap choose one."""
    if "debian" not in facts.distribution.split():
        return ""
    targets = StringCommand("apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages'")
    done, output = host.run_shell_command(targets)
    for line in output.stdout_lines if done else []:
        origin, component, uri = [*line.split(), "", "", ""][:3]
        if (origin, component) == ("Debian", "main") and "security" not in uri:
            return uri
    return ""


def inspect_images(context: MachineContext, facts: MachineFacts) -> dict[str, BuiltImage]:
    """
    Tag -> image, of every image that the tenants run from. A container inspects those without labels of ours.

    Raises Refused where an image is missing, or has no PostgreSQL with pgvector.
    """
    account, machine = context.account(), context.machine.name
    for image in context.images:
        if not account.id_of(image.tag):
            raise Refused.because(f"{machine}: image {image.tag} is not there", "run the deploy again")
    inspected = {tag: _inspect(context, facts, tag, image_id) for tag, image_id in account.unknown.items()}
    return {**account.images, **inspected}


def _inspect(context: MachineContext, facts: MachineFacts, tag: str, image_id: str) -> BuiltImage:
    command = as_account(facts, commands.script("machine/image-facts.sh"), image_id, timeout=400)
    done, output = host.run_shell_command(command)
    image = BuiltImage.from_answer(image_id, output.stdout_lines) if done else None
    if image is None:
        error = output.stderr or output.stdout
        raise Refused.because(f"{context.machine.name}: image {tag} has no PostgreSQL with pgvector: {error}", _ARCHIVE)
    return replace(image, digest=context.account().digest_of(tag))
