"""Images on their way: from a file, over the connection, into an account's store, and back out."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import FileDownloadCommand, FileUploadCommand, QuoteString, StringCommand
from pyinfra.api.command import PyinfraCommand

from pgberth import commands
from pgberth.machine.facts import MachineContext, as_account
from pgberth.machine.preparation import MachineFacts
from pgberth.model.names import LOCAL
from pgberth.model.problems import Problem

Steps = Generator[PyinfraCommand, None, None]  # files among them

_THERE = 'podman info --format "{{.Host.Arch}}"; ! podman image exists "$1" || echo there'


def loaded(
    context: MachineContext, facts: MachineFacts, path: Path, image_id: str, tag: str, architecture: str = ""
) -> Steps:
    """
    The image of this archive is in the account's store, under its tag.

    + path: on the control machine
    + architecture: in Go's words; another machine's is refused before anything is sent

    Where it is there under another name it is not sent at all.
    """
    asked, said = host.run_shell_command(as_account(facts, _THERE, image_id, timeout=60))
    lines = said.stdout_lines if asked else []
    if architecture and lines and architecture != lines[0]:
        yield commands.refuse(_other_architecture(context.machine.name, str(path), architecture, lines[0]))
        return
    context.invalidate()
    load = as_account(facts, commands.script("machine/load-image.sh"), image_id, tag, str(path), timeout=900)
    if "there" in lines:
        yield _reading(load, "/dev/null")
    elif context.machine.name == LOCAL:
        yield _reading(load, str(path))
    else:
        there = _place(facts, image_id)
        yield _emptied(there)
        yield FileUploadCommand(str(path), there)
        yield StringCommand(_reading(load, there), "; code=$?; rm -f", QuoteString(there), "; exit $code")


def _other_architecture(machine: str, what: str, has: str, wants: str) -> Problem:
    fact = f"{machine}: {what} is for {has}, this machine is {wants}"
    return Problem(fact, "give its tenants an image of the machine's own architecture; nothing was sent")


def fetched(context: MachineContext, facts: MachineFacts, image_id: str, path: Path) -> Steps:
    """The image of the account's store is a file on the control machine: whole, or not there."""
    save = as_account(
        facts, 'exec podman save --quiet --format docker-archive "$1"', image_id.removeprefix("sha256:"), timeout=900
    )
    half = path.with_suffix(".half")
    if context.machine.name == LOCAL:
        yield StringCommand("(", save, ") >", QuoteString(str(half)))
    else:
        there = _place(facts, image_id)
        yield _emptied(there)
        yield StringCommand("(", save, ") >", QuoteString(there))
        yield FileDownloadCommand(there, str(half))
        yield StringCommand("rm -f", QuoteString(there))
    half.rename(path)


def _place(facts: MachineFacts, image_id: str) -> str:
    # Never in the account's home as root: the account could have put a link there.
    place = "/var/cache/pgberth" if facts.root else f"{facts.home}/.cache/pgberth"
    return f"{place}/{image_id.removeprefix('sha256:')}.tar"


def _emptied(there: str) -> StringCommand:
    """What a killed run left on its way goes first."""
    place = QuoteString(there.rpartition("/")[0])
    return StringCommand("umask 077; mkdir -p", place, "&& cd", place, "&& rm -f *.tar")


def _reading(command: StringCommand, path: str) -> StringCommand:
    """A command of the account's that reads a file which only we may open."""
    return StringCommand("(", command, ") <", QuoteString(path))
