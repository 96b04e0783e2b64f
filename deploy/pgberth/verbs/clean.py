"""Everything of an account goes, the data of its tenants included."""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from pgberth.connectors.local import Identity
from pgberth.inventory.load import Fleet
from pgberth.machine.preparation import GECOS
from pgberth.model import layout
from pgberth.model.names import LOCAL
from pgberth.model.problems import Problem, Refused

# podman's first question makes its database, for good: not of an account that no deploy has configured yet.
_DATA = f"""set -eu
[ -e .config/containers/storage.conf ] || [ -d .local/share/containers ] || exit 0
names=$(podman volume ls --quiet --filter label={layout.TENANT_LABEL})
printf '%s\\n' "$names" | sed -n 's/-data-g[0-9]*$//p'
"""
# Secrets go last: without them a volume that could not be removed would be of no use to anybody.
_REMOVE = """set -eu
podman ps --all --quiet --filter label=LABEL | xargs -r podman rm --force --time 10 >/dev/null
podman secret ls --format '{{.Name}}' | sed -n '/^pgberth_/p' | xargs -r podman secret rm >/dev/null
podman volume ls --quiet --filter label=LABEL | xargs -r podman volume rm --force >/dev/null
for ours in label=pgberth.recipe reference=localhost/pgberth-archive reference=localhost/pgberth-registry; do
  podman image ls --quiet --filter "$ours" | sort -u | xargs -r podman image rm --force >/dev/null
done
rm -rf -- "$HOME/PLACE"
""".replace("LABEL", layout.TENANT_LABEL).replace("PLACE", layout.HOME)


def clean(fleet: Fleet, options: argparse.Namespace) -> None:
    """
    Remove all of the inventory's account here: containers, volumes, secrets, images, and the account where it is ours.

    Raises Refused, before anything is touched, where nobody is asked (--yes) and tenants that the inventory does not
    name would lose their data.
    """
    accounts = {machine.account for machine in fleet.machines.values() if machine.name == LOCAL}
    if not accounts:
        raise Refused.because(f"{options.inventory}: none of its machines is this one", "nothing was removed")
    strangers = {identity: _strangers(fleet, identity) for identity in _there(accounts)}
    if options.yes and any(strangers.values()):
        raise Refused(list(_unnamed(strangers, options.inventory)))
    for identity, names in strangers.items():
        if not options.yes and not _agreed(fleet, identity, names):
            raise SystemExit("nothing was removed")
        _remove(identity)


def _there(accounts: set[str]) -> Iterator[Identity]:
    for account in sorted(accounts):
        try:
            yield Identity.of(account)
        except LookupError as missing:
            print(f"{missing}: nothing to clean")


def _strangers(fleet: Fleet, identity: Identity) -> list[str]:
    """Tenants whose data the account keeps, and which the inventory does not name. Raises Refused."""
    found = _asked(identity, _DATA, "its volumes cannot be listed", "nothing was removed; does podman work for it?")
    return sorted(set(found.split()) - {one.name for one in fleet.tenants.values() if one.machine.name == LOCAL})


def _unnamed(strangers: Mapping[Identity, list[str]], inventory: str) -> Iterator[Problem]:
    hint = "nothing was removed; without YES=1 it asks: runbooks/clean-up.md"
    for identity, names in strangers.items():
        for name in names:
            yield Problem(f"{identity.name}: tenant {name} has data here, and {inventory} does not name it", hint)


def _agreed(fleet: Fleet, identity: Identity, strangers: list[str]) -> bool:
    more = f", and of {', '.join(strangers)}, which the inventory does not name" if strangers else ""
    print(f"This deletes the data of {', '.join(fleet.tenants)}{more}: all that {identity.name} has, for good.")
    try:
        return input("Type yes to go on: ").strip() == "yes"
    except EOFError:
        return False  # nobody is there to be asked


def _remove(identity: Identity) -> None:
    _asked(identity, _REMOVE, "not all could be removed, so its secrets are kept", "run make clean again")
    print(f"removed: containers, volumes, images and secrets of {identity.name}")
    if os.geteuid() == 0 and _made_by_us(identity.name):
        subprocess.run(["pkill", "-KILL", "-U", str(identity.uid)], check=False)
        subprocess.run(["loginctl", "disable-linger", identity.name], check=False, capture_output=True)
        subprocess.run(["userdel", "--remove", identity.name], check=True, capture_output=True)
        shutil.rmtree(identity.runtime_directory, ignore_errors=True)
        print(f"removed: account {identity.name}")


def _asked(identity: Identity, script: str, fault: str, hint: str) -> str:
    """What the script prints, run as the account; "" where there is no podman for it. Raises Refused where it fails."""
    if not shutil.which("podman"):
        return ""
    done = subprocess.run(
        ["/bin/sh", "-c", script],
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


def _made_by_us(account: str) -> bool:
    return pwd.getpwnam(account).pw_gecos.split(",")[0] == GECOS
