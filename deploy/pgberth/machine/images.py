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
from pgberth.machine.facts import Survey, as_account
from pgberth.machine.image_inventory import Held, Stock, parcel
from pgberth.machine.preparation import MachineFacts
from pgberth.machine.transport import Steps
from pgberth.model.image import BuiltImage, Image
from pgberth.model.problems import Problem
from pgberth.model.tenant import Tenant

_REGISTRY = "runbooks/image-by-registry.md"


def archive_problems(wanted: Mapping[str, Tenant]) -> Iterator[Problem]:
    """Of each archive, with one of the tenants that run from it, what is wrong with the file on this machine."""
    for path, tenant in wanted.items():
        try:
            Archive.read(path)
        except ValueError as wrong:
            fact = f"{tenant.name}: image archive {path} {wrong}"
            yield Problem(fact, "nothing was touched; runbooks/image-by-archive.md")


def told(survey: Survey, stock: Stock) -> None:
    """The others know what this machine has."""
    for image in survey.images:
        stock.tell(survey.machine.name, image, _held(survey, image))


def _held(survey: Survey, image: Image) -> Held:
    account = survey.account()
    if not image.built:
        return Held(account.id_of(image.tag), account.digest_of(image.tag))
    found = account.images.get(image.tag)
    return Held(found.id if found is not None and found.recipe == image.recipe else "")


@operation()
def images_made(survey: Survey, stock: Stock) -> Steps:
    """
    What no machine has yet is made on one of them: built by its present recipe, or its tag asked for at the registry.

    Where others want the same build it is brought here, to the control machine, for them.
    """
    facts, machine = survey.facts(), survey.machine.name
    if facts is None or not facts.uid:
        return
    for image in survey.images:
        if image.built and stock.maker(image) == machine:
            yield from _built(survey, facts, image)
            told(survey, stock)
        elif image.name and not stock.digest(image) and stock.maker(image) == machine:
            yield _pulled(survey, facts, image, image.name)
            told(survey, stock)
        if image.built and stock.source(image) == machine and stock.lacking(image):
            image_id = stock.held(machine, image).id
            yield from transport.fetched(survey, facts, image_id, parcel(image_id))


@operation()
def images_present(survey: Survey, stock: Stock) -> Steps:
    """
    Every image the machine's tenants want is in the account's store, and is the one that all machines have.

    One of an archive by its id, one of a registry by its digest; a built one as the machine has it that built it.
    """
    facts = survey.facts()
    if facts is None or not facts.uid:
        return
    for image in survey.images:
        if image.archive:
            yield from _of_archive(survey, facts, image)
        elif image.name:
            yield from _of_registry(survey, facts, image, stock)
        else:
            yield from _as_elsewhere(survey, facts, image, stock)
        told(survey, stock)


def _of_archive(survey: Survey, facts: MachineFacts, image: Image) -> Steps:
    wanted = Archive.read(image.archive)
    if survey.account().id_of(image.tag) != wanted.id:
        path = Path(image.archive).resolve()
        yield from transport.loaded(survey, facts, path, wanted.id, image.tag, wanted.architecture)


def _of_registry(survey: Survey, facts: MachineFacts, image: Image, stock: Stock) -> Commands:
    account, machine = survey.account(), survey.machine.name
    wanted, mine = stock.digest(image), account.digest_of(image.tag)
    if not wanted:
        fact = f"{machine}: nobody could ask {image.name} for its digest; see above"
        yield commands.refuse(Problem(fact, _REGISTRY))
    elif not image.digest and mine and mine != wanted:
        fact = f"{machine}: {image.name} is {mine} here, and {wanted} on {stock.recorder(image)}"
        hint = f'write the one you want in the inventory: Image(name="{image.name}", digest="..."): {_REGISTRY}'
        yield commands.refuse(Problem(fact, hint))
    elif wanted not in account.digests.get(image.tag, ()):
        yield _pulled(survey, facts, image, f"{image.repository}@{wanted}")


def _as_elsewhere(survey: Survey, facts: MachineFacts, image: Image, stock: Stock) -> Steps:
    machine, source = survey.machine.name, stock.source(image)
    if not source and stock.maker(image) in (machine, ""):  # whose turn it was has failed
        yield from _built(survey, facts, image)
    elif not source:
        fact = f"{machine}: image {image.tag} could be built on no machine before this one's turn; see above"
        yield commands.refuse(Problem(fact, "run the deploy again; runbooks/image-is-not-built.md"))
    elif machine in stock.lacking(image):
        image_id = stock.held(source, image).id
        if parcel(image_id).exists():
            yield from transport.loaded(survey, facts, parcel(image_id), image_id, image.tag)
        else:
            fact = f"{machine}: image {image.tag} could not be brought here from {source}; see above"
            yield commands.refuse(Problem(fact, "run the deploy again"))


def _built(survey: Survey, facts: MachineFacts, image: Image) -> Commands:
    survey.forget()
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


def _pulled(survey: Survey, facts: MachineFacts, image: Image, reference: str) -> StringCommand:
    survey.forget()
    pull = commands.script("machine/pull-image.sh")
    return as_account(facts, pull, survey.machine.name, reference, image.tag, timeout=1800)


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


def looked_into(survey: Survey, facts: MachineFacts) -> dict[str, BuiltImage] | Problem:
    """Tag -> image, of all that the tenants want; one without labels of ours is looked into by a container."""
    have, machine = survey.account(), survey.machine.name
    for image in survey.images:
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
