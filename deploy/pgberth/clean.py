"""Removes everything of an account, the data of its tenants included."""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from pgberth import commands
from pgberth.connectors.local import Identity
from pgberth.inventory.load import Fleet
from pgberth.machine.preparation import GECOS
from pgberth.model import layout
from pgberth.model.names import LOCAL
from pgberth.model.problems import Problem, Refused

LIST_DATA = ("machine/list-data.sh", layout.TENANT_LABEL)
REMOVE_EVERYTHING = ("machine/remove-everything.sh", layout.TENANT_LABEL, layout.HOME)


def clean(fleet: Fleet, options: argparse.Namespace) -> None:
    """
    Remove everything of the inventory's account here: containers, volumes, secrets, images; and the account itself if
    we created it.

    Raises Refused, before anything is touched, where `--yes` suppresses the question and tenants that the inventory
    does not name would lose their data.
    """
    accounts = {machine.account for machine in fleet.machines.values() if machine.name == LOCAL}
    if not accounts:
        raise Refused.because(f"{options.inventory}: this machine is not in it", "nothing was removed")
    unmanaged = {identity: _unmanaged(fleet, identity) for identity in _identities(accounts)}
    if options.yes and any(unmanaged.values()):
        raise Refused(list(_problems(unmanaged, options.inventory)))
    for identity, names in unmanaged.items():
        if not options.yes and not _confirmed(fleet, identity, names):
            raise SystemExit("nothing was removed")
        _remove(identity)


def _identities(accounts: set[str]) -> Iterator[Identity]:
    for account in sorted(accounts):
        try:
            yield Identity.of(account)
        except LookupError as missing:
            print(f"{missing}: nothing to clean")


def _unmanaged(fleet: Fleet, identity: Identity) -> list[str]:
    """
    What has data in this account and is not the inventory's: a tenant's name, or `volume NAME` where the data is not
    shown to be a tenant's own. Raises Refused.
    """
    hint = "nothing was removed; does podman work for it?"
    found = _output(identity, LIST_DATA, "its volumes cannot be listed", hint)
    return sorted(set(found.splitlines()) - {one.name for one in fleet.tenants.values() if one.machine.name == LOCAL})


def _problems(unmanaged: Mapping[Identity, list[str]], inventory: str) -> Iterator[Problem]:
    hint = "nothing was removed; without YES=1 it asks first: runbooks/clean-up.md"
    for identity, names in unmanaged.items():
        for name in names:
            what = name if name.startswith("volume ") else f"tenant {name}"
            yield Problem(f"{identity.name}: {what} has data here, and {inventory} does not name it", hint)


def _confirmed(fleet: Fleet, identity: Identity, unmanaged: list[str]) -> bool:
    more = f", and of {', '.join(unmanaged)}, which the inventory does not name" if unmanaged else ""
    print(
        f"This deletes the data of {', '.join(fleet.tenants)}{more}: everything that {identity.name} has, permanently."
    )
    try:
        return input("Type yes to continue: ").strip() == "yes"
    except EOFError:
        return False  # there is no terminal to answer


def _remove(identity: Identity) -> None:
    _output(
        identity, REMOVE_EVERYTHING, "not everything could be removed, so its secrets are kept", "run make clean again"
    )
    print(f"removed: containers, volumes, images and secrets of {identity.name}")
    if os.geteuid() == 0 and _created_by_us(identity.name):
        subprocess.run(["pkill", "-KILL", "-U", str(identity.uid)], check=False)
        subprocess.run(["loginctl", "disable-linger", identity.name], check=False, capture_output=True)
        subprocess.run(["userdel", "--remove", identity.name], check=True, capture_output=True)
        shutil.rmtree(identity.runtime_directory, ignore_errors=True)
        print(f"removed: account {identity.name}")


def _output(identity: Identity, script: tuple[str, ...], fault: str, hint: str) -> str:
    """
    What a script prints, run as the account; "" where the machine has no podman.

    + script: its name below templates/, then its arguments

    Raises Refused where it fails.
    """
    if not shutil.which("podman"):
        return ""
    name, *arguments = script
    done = subprocess.run(
        ["/bin/sh", "-c", commands.script(name), "pgberth", *arguments],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        cwd=identity.home,
        env=identity.environment(),
        **identity.popen_arguments(),
    )
    if done.returncode:
        raise Refused.because(f"{identity.name}: {fault}", hint)
    return str(done.stdout)


def _created_by_us(account: str) -> bool:
    return pwd.getpwnam(account).pw_gecos.split(",")[0] == GECOS
