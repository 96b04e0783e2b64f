"""Moves images: from a file or another machine into the account's store, and from the store to a file."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import FileDownloadCommand, FileUploadCommand, FunctionCommand, QuoteString, StringCommand
from pyinfra.api.command import PyinfraCommand

from pgberth import commands
from pgberth.machine.facts import MachineContext, as_account
from pgberth.machine.preparation import MachineFacts
from pgberth.model.names import LOCAL
from pgberth.model.problems import Refused

Transfer = Generator[PyinfraCommand, None, None]  # commands and files

_EXISTS = 'podman info --format "{{.Host.Arch}}"; ! podman image exists "$1" || echo there'


def load_image(
    context: MachineContext, facts: MachineFacts, path: Path, image_id: str, tag: str, architecture: str = ""
) -> Transfer:
    """
    Load the image of an archive into the account's store, and tag it. An image that is there already is not sent.

    + path: of the archive, on the control machine
    + architecture: of the image, in Go's words, e.g. amd64; "" where it is not checked

    Raises Refused, before anything is sent, where the machine has another architecture.
    """
    done, output = host.run_shell_command(as_account(facts, _EXISTS, image_id, timeout=60))
    lines = output.stdout_lines if done else []
    if architecture and lines and architecture != lines[0]:
        fact = f"{context.machine.name}: {path} is for {architecture}, this machine is {lines[0]}"
        raise Refused.because(fact, "give its tenants an image of the machine's own architecture; nothing was sent")
    context.invalidate()
    load = as_account(facts, commands.script("machine/load-image.sh"), image_id, tag, str(path), timeout=900)
    if "there" in lines:
        yield _with_input(load, "/dev/null")
    elif context.machine.name == LOCAL:
        yield _with_input(load, str(path))
    else:
        remote = _remote_path(facts, image_id)
        yield _clear_directory(remote)
        yield FileUploadCommand(str(path), remote)
        yield StringCommand(_with_input(load, remote), "; code=$?; rm -f", QuoteString(remote), "; exit $code")


def fetch_image(context: MachineContext, facts: MachineFacts, image_id: str, path: Path) -> Transfer:
    """Save an image of the account's store as a file on the control machine, which is whole or does not exist."""
    save = as_account(
        facts, 'exec podman save --quiet --format docker-archive "$1"', image_id.removeprefix("sha256:"), timeout=900
    )
    partial = path.with_suffix(".half")
    if context.machine.name == LOCAL:
        yield StringCommand("(", save, ") >", QuoteString(str(partial)))
    else:
        remote = _remote_path(facts, image_id)
        yield _clear_directory(remote)
        yield StringCommand("(", save, ") >", QuoteString(remote))
        yield FileDownloadCommand(remote, str(partial))
        yield StringCommand("rm -f", QuoteString(remote))
    # A command, since pyinfra may run this generator only to see whether anything would change.
    yield FunctionCommand(partial.rename, (path,), {})


def _remote_path(facts: MachineFacts, image_id: str) -> str:
    # Root never writes into the account's home: the account could have put a link there.
    place = "/var/cache/pgberth" if facts.root else f"{facts.home}/.cache/pgberth"
    return f"{place}/{image_id.removeprefix('sha256:')}.tar"


def _clear_directory(path: str) -> StringCommand:
    """Make the directory of this file and remove the archives that a killed run left there."""
    place = QuoteString(path.rpartition("/")[0])
    return StringCommand("umask 077; mkdir -p", place, "&& cd", place, "&& rm -f *.tar")


def _with_input(command: StringCommand, path: str) -> StringCommand:
    """The command, with a file as its standard input that the account itself may not open."""
    return StringCommand("(", command, ") <", QuoteString(path))
