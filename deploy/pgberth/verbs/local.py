"""
The everyday commands of a local inventory: url, psql, logs, entrypoint, inject and clean, as the Makefile calls them.

They read the inventory and act on this machine at once, without a deploy.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, get_args

from pgberth.connector import Identity
from pgberth.container.entrypoint import entrypoint
from pgberth.ending.slips import slip
from pgberth.machine.preparation import GECOS
from pgberth.model import layout
from pgberth.model.declare import DECLARED, PROBLEMS
from pgberth.model.load import Fleet, Line, load
from pgberth.model.names import LOCAL
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import DATABASE
from pgberth.model.secret import Secret
from pgberth.model.tenant import COMPONENTS, Tenant
from pgberth.model.url import Dialect, passfile_line, search_path, tenant_url, trusted, with_search_path


def main(arguments: list[str] | None = None) -> None:
    """Exit code 0 when done, 1 with a fact and a HINT otherwise."""
    parser = argparse.ArgumentParser(prog="pgberth.verbs.local")
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--inventory", default="inventories/local.py")
    parser.add_argument("--tenant", default="")
    parser.add_argument("--component", default="")
    parser.add_argument("--show-password", action="store_true")
    parser.add_argument("--plugin", default="")
    parser.add_argument("--dialect", choices=get_args(Dialect), default="libpq")
    parser.add_argument("--yes", action="store_true")
    options = parser.parse_args(arguments)
    try:
        COMMANDS[options.command](read_fleet(options.inventory), options)
    except Refused as refused:
        sys.exit(str(refused))


def read_fleet(path: str) -> Fleet:
    """The fleet a local inventory file declares. Raises Refused."""
    if not Path(path).is_file():
        raise Refused.because(f"inventory {path} is not a file", "give its path: INVENTORY=inventories/local.py")
    try:
        declared = runpy.run_path(path)
    except Exception as fault:  # noqa: BLE001  (what an operator wrote may raise anything)
        raise slip(fault, path) or fault from None
    if problems := list(_problems(declared)):
        raise Refused(problems)
    return load(_lines(declared))


def _problems(declared: dict[str, Any]) -> Iterator[Problem]:
    for hosts in declared.values():
        for host in hosts if isinstance(hosts, list) else ():
            for fact, hint in host[1].get(PROBLEMS, ()):
                yield Problem(fact, hint)


def _lines(declared: dict[str, Any]) -> Iterator[Line]:
    for group, hosts in declared.items():
        if group.startswith("_") or not isinstance(hosts, list):
            continue
        for _, data in hosts:
            for key, value in data.items():
                if key.startswith(DECLARED):
                    kind, name, fields, places = value
                    yield Line(kind, name, key.removeprefix(DECLARED), fields, (group,), places=places)


def _tenant(fleet: Fleet, options: argparse.Namespace) -> Tenant:
    names = ", ".join(fleet.tenants)
    if not options.tenant:
        raise Refused.because("no tenant given", f"TENANT=one of {names}")
    if options.tenant not in fleet.tenants:
        raise Refused.because(f"{options.tenant}: no such tenant in {options.inventory}", f"it has {names}")
    tenant = fleet.tenants[options.tenant]
    if tenant.machine.name != LOCAL:
        fact = f"{tenant.name}: it is on machine {tenant.machine.name}, and this command is for tenants of this one"
        raise Refused.because(fact, f"run it on {tenant.machine.name}")
    if options.component and options.component not in tenant.components:
        fact = f"{tenant.name}: it has no component {options.component!r}"
        raise Refused.because(fact, f"it has {', '.join(tenant.ordered_components)}")
    return tenant


def _identity(tenant: Tenant) -> Identity:
    try:
        return Identity.of(tenant.machine.account)
    except LookupError as missing:
        raise Refused.because(f"{tenant.name}: {missing}", "run make deploy first") from None


def _file(tenant: Tenant, identity: Identity, path: str) -> str:
    # As the account, never as root: the account could have put a link there.
    try:
        read = subprocess.run(
            ["/bin/cat", "--", str(Path(identity.home) / path)],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            cwd="/",
            env=identity.environment(),
            **identity.popen_arguments(),
        )
    except subprocess.TimeoutExpired:
        fact = f"{tenant.name}: ~{identity.name}/{path} gives no end"
        raise Refused.because(fact, "is it a plain file?") from None
    if read.returncode:
        fact = f"{tenant.name}: ~{identity.name}/{path} cannot be read: {read.stderr.strip()}"
        raise Refused.because(fact, "run make deploy first; as root, or as the account itself")
    return str(read.stdout)


def _spec(tenant: Tenant, identity: Identity) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(_file(tenant, identity, layout.spec_file(tenant.name)))
    return spec


def _app_password(tenant: Tenant, identity: Identity, spec: dict[str, Any]) -> Secret:
    name = layout.secret_names(spec)["app"]
    return Secret(_file(tenant, identity, layout.secret_file(tenant.name, name)).strip())


def url(fleet: Fleet, options: argparse.Namespace) -> None:
    """Print a connection URL: with a passfile, or with the password where that was asked for."""
    tenant = _tenant(fleet, options)
    identity = _identity(tenant)
    spec = _spec(tenant, identity)
    password = _app_password(tenant, identity, spec) if options.show_password else None
    passfile = None if options.show_password else f"{identity.home}/{layout.passfile(tenant.name)}"
    port, component, user = spec["port"], options.component or None, layout.app_login(spec)
    place = trusted(spec, identity.home, tenant.name)
    print(tenant_url(port, component, passfile=passfile, password=password, user=user, **place))


def psql(fleet: Fleet, options: argparse.Namespace) -> NoReturn:
    """
    The image's own psql as the app, inside the container: always a client of the server's version.

    The password goes in as a file that exists in memory only, handed over as a descriptor.
    """
    tenant = _tenant(fleet, options)
    identity = _identity(tenant)
    spec = _spec(tenant, identity)
    login = layout.app_login(spec)
    line = passfile_line(5432, _app_password(tenant, identity, spec), login)
    path = search_path(options.component) if options.component else ()
    _become(identity)
    passfile = os.memfd_create("passfile")
    os.fchmod(passfile, 0o600)  # libpq ignores a passfile that others may read
    os.write(passfile, line.encode())
    os.dup2(passfile, 3)
    os.set_inheritable(3, True)  # dup2 onto itself would leave it closed on exec
    inside = {"PGPASSFILE": "/proc/self/fd/3", "PGAPPNAME": "make psql"}
    if path:
        inside["PGOPTIONS"] = f"-csearch_path={','.join(path)}"
    terminal = ["--interactive", *(["--tty"] if sys.stdin.isatty() else [])]
    environment = [f"--env={name}={value}" for name, value in inside.items()]
    client = ["psql", "-h", "127.0.0.1", "-U", login, "-d", DATABASE, "-w"]
    command = ["podman", "exec", *terminal, "--preserve-fds=1", *environment, layout.container(tenant.name), *client]
    os.execvpe(command[0], command, {**identity.environment(), "TERM": os.environ.get("TERM", "dumb")})  # noqa: S606


def workload_entrypoint(fleet: Fleet, options: argparse.Namespace) -> None:
    """Print the entrypoint for a workload of the tenant; `--plugin` is the command of a memory plugin beside it."""
    tenant = _tenant(fleet, options)
    try:
        plugin = shlex.split(options.plugin)
    except ValueError as wrong:
        raise Refused.because(f"PLUGIN: {wrong}", "quote it as for a shell") from None
    if plugin and "memory_plugin" not in tenant.components:
        raise Refused.because(f"{tenant.name}: it has no component memory_plugin", "leave PLUGIN= away")
    print(entrypoint(tenant.ordered_components, plugin), end="")


def inject(_: Fleet, options: argparse.Namespace) -> None:
    """Print the URL that comes on standard input with a component's search_path in it."""
    if options.component not in COMPONENTS:
        fact = f"COMPONENT: {options.component!r} is no component"
        raise Refused.because(fact, f"it is one of {', '.join(COMPONENTS)}")
    url = sys.stdin.read().removesuffix("\n")
    print(with_search_path(url, options.component, dialect=options.dialect, name="the URL"))


def logs(fleet: Fleet, options: argparse.Namespace) -> NoReturn:
    """The container's log, whole."""
    tenant = _tenant(fleet, options)
    identity = _identity(tenant)
    _become(identity)
    command = ["podman", "logs", "--timestamps", layout.container(tenant.name)]
    os.execvpe(command[0], command, identity.environment())  # noqa: S606


def _become(identity: Identity) -> None:
    if identity.uid != os.geteuid():
        os.initgroups(identity.name, identity.gid)
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    os.chdir(identity.home)


def clean(fleet: Fleet, options: argparse.Namespace) -> None:
    """Remove what this inventory made here: containers, volumes, secrets, images, and the account where it is ours."""
    accounts = {machine.account for machine in fleet.machines.values() if machine.name == LOCAL}
    if not accounts:
        raise Refused.because(f"{options.inventory}: none of its machines is this one", "nothing was removed")
    for account in accounts:
        try:
            identity = Identity.of(account)
        except LookupError as missing:
            print(f"{missing}: nothing to clean")
            continue
        if not options.yes and not _agreed(fleet, identity):
            sys.exit("nothing was removed")
        _remove(identity)


def _agreed(fleet: Fleet, identity: Identity) -> bool:
    print(f"This deletes the data of {', '.join(fleet.tenants)} and every other tenant of {identity.name}, for good.")
    try:
        return input("Type yes to go on: ").strip() == "yes"
    except EOFError:
        return False  # nobody is there to be asked


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


def _remove(identity: Identity) -> None:
    if shutil.which("podman"):
        done = subprocess.run(
            ["/bin/sh", "-c", _REMOVE],
            check=False,
            cwd=identity.home,
            env=identity.environment(),
            **identity.popen_arguments(),
        )
        if done.returncode:
            sys.exit(f"{identity.name}: not all could be removed, so its secrets are kept\nHINT: run make clean again")
    print(f"removed: containers, volumes, images and secrets of {identity.name}")
    if os.geteuid() == 0 and _made_by_us(identity.name):
        subprocess.run(["pkill", "-KILL", "-U", str(identity.uid)], check=False)
        subprocess.run(["loginctl", "disable-linger", identity.name], check=False, capture_output=True)
        subprocess.run(["userdel", "--remove", identity.name], check=True, capture_output=True)
        shutil.rmtree(identity.runtime_directory, ignore_errors=True)
        print(f"removed: account {identity.name}")


def _made_by_us(account: str) -> bool:
    return pwd.getpwnam(account).pw_gecos.split(",")[0] == GECOS


COMMANDS = {
    "url": url,
    "psql": psql,
    "logs": logs,
    "clean": clean,
    "entrypoint": workload_entrypoint,
    "inject": inject,
}

if __name__ == "__main__":
    main()
