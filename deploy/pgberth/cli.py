"""
The everyday commands of a local inventory: url, psql, logs, entrypoint, inject and clean, as the Makefile calls them.

They read the inventory and act on this machine at once, without a deploy.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

from pgberth.clean import clean
from pgberth.connectors.local import Identity
from pgberth.inventory.load import Fleet, declared_lines, file_problems, load
from pgberth.model import layout
from pgberth.model.names import LOCAL
from pgberth.model.problems import Refused
from pgberth.model.roles import DATABASE
from pgberth.model.secret import Secret
from pgberth.model.spec_file import SpecFile
from pgberth.model.tenant import COMPONENTS, MEMORY_PLUGIN, Tenant
from pgberth.model.url import LOOPBACK, Dialect, passfile_line, search_path, tenant_url, trusted, with_search_path
from pgberth.rendering.entrypoint import entrypoint
from pgberth.report.inventory_errors import explain


def main(arguments: list[str] | None = None) -> None:
    """Exit code 0 when done, 1 with a fact and a HINT otherwise."""
    parser = argparse.ArgumentParser(prog="pgberth.cli")
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
    """The fleet that a local inventory file declares. Raises Refused."""
    if not Path(path).is_file():
        raise Refused.because(f"inventory {path} is not a file", "give its path: INVENTORY=inventories/local.py")
    try:
        declared = runpy.run_path(path)
    except Exception as fault:  # noqa: BLE001  (an operator's code may raise anything)
        raise explain(fault, path) or fault from None
    if problems := [problem for _, data in _hosts(declared) for problem in file_problems(data)]:
        raise Refused(problems)
    return load(line for group, data in _hosts(declared) for line in declared_lines(data, (group,)))


def _hosts(declared: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(group, data of a host), of every group that the file declares."""
    for group, hosts in declared.items():
        if not group.startswith("_") and isinstance(hosts, list):
            yield from ((group, data) for _, data in hosts)


def _tenant(fleet: Fleet, options: argparse.Namespace) -> Tenant:
    """The tenant that the options name. Raises Refused where this machine does not have it."""
    names = ", ".join(fleet.tenants)
    if not options.tenant:
        raise Refused.because("no tenant given", f"TENANT=one of {names}")
    if options.tenant not in fleet.tenants:
        raise Refused.because(f"{options.tenant}: no such tenant in {options.inventory}", f"it has {names}")
    tenant = fleet.tenants[options.tenant]
    if tenant.machine.name != LOCAL:
        fact = f"{tenant.name}: it is on machine {tenant.machine.name}, and this command works on this machine only"
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


def _read_file(tenant: Tenant, identity: Identity, path: str) -> str:
    """The text of a file below the account's home. Raises Refused."""
    # As the account, never as root: the account could have put a link there.
    try:
        done = subprocess.run(
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
        fact = f"{tenant.name}: ~{identity.name}/{path} has no end"
        raise Refused.because(fact, "is it a plain file?") from None
    if done.returncode:
        fact = f"{tenant.name}: ~{identity.name}/{path} cannot be read: {done.stderr.strip()}"
        raise Refused.because(fact, "run make deploy first; as root, or as the account itself")
    return str(done.stdout)


def _spec(tenant: Tenant, identity: Identity) -> SpecFile:
    return SpecFile.parse(_read_file(tenant, identity, layout.spec_file(tenant.name)))


def _app_password(tenant: Tenant, identity: Identity, spec: SpecFile) -> Secret:
    name = spec.secret_names["app"]
    return Secret(_read_file(tenant, identity, layout.secret_file(tenant.name, name)).strip())


def url(fleet: Fleet, options: argparse.Namespace) -> None:
    """Print a connection URL: with a passfile, or with the password if `--show-password` is given."""
    tenant = _tenant(fleet, options)
    identity = _identity(tenant)
    spec = _spec(tenant, identity)
    password = _app_password(tenant, identity, spec) if options.show_password else None
    passfile = None if options.show_password else f"{identity.home}/{layout.passfile(tenant.name)}"
    port, component, user = spec.port or tenant.port, options.component or None, spec.app_login
    place = trusted(spec.listening, identity.home, tenant.name)
    print(tenant_url(port, component, passfile=passfile, password=password, user=user, **place))


def psql(fleet: Fleet, options: argparse.Namespace) -> NoReturn:
    """
    Run the image's own psql as the app, inside the container: it always has the server's version.

    The password is in a file that exists only in memory; psql inherits its descriptor.
    """
    tenant = _tenant(fleet, options)
    identity = _identity(tenant)
    spec = _spec(tenant, identity)
    login = spec.app_login
    line = passfile_line(5432, _app_password(tenant, identity, spec), login)
    path = search_path(options.component) if options.component else ()
    _become(identity)
    passfile = os.memfd_create("passfile")
    os.fchmod(passfile, 0o600)  # libpq ignores a passfile that others may read
    os.write(passfile, line.encode())
    os.dup2(passfile, 3)
    os.set_inheritable(3, True)  # dup2 of 3 to 3 would leave it closed on exec
    terminal = ["--interactive", *(["--tty"] if sys.stdin.isatty() else [])]
    client = ["psql", "-w", "-d", _conninfo(login, path)]
    command = ["podman", "exec", *terminal, "--preserve-fds=1", layout.container(tenant.name), *client]
    os.execvpe(command[0], command, {**identity.environment(), "TERM": os.environ.get("TERM", "dumb")})  # noqa: S606


def _conninfo(login: str, path: Sequence[str]) -> str:
    """What psql inside the container depends on. It is stated whole, since an image may have libpq's variables set."""
    stated = {
        "host": LOOPBACK,
        "hostaddr": LOOPBACK,
        "port": "5432",
        "user": login,
        "dbname": DATABASE,
        "passfile": "/proc/self/fd/3",
        "sslmode": "prefer",
        "sslrootcert": "/dev/null/none",
        "gssencmode": "disable",
        "target_session_attrs": "any",
        "application_name": "make psql",
        "options": f"-csearch_path={','.join(path)}" if path else "",
    }
    return " ".join(f"{name}='{value}'" for name, value in stated.items())


def workload_entrypoint(fleet: Fleet, options: argparse.Namespace) -> None:
    """Print the entrypoint for a workload of the tenant; `--plugin` is the command of a memory plugin beside it."""
    tenant = _tenant(fleet, options)
    try:
        plugin = shlex.split(options.plugin)
    except ValueError as wrong:
        raise Refused.because(f"PLUGIN: {wrong}", "quote it as for a shell") from None
    if plugin and MEMORY_PLUGIN not in tenant.components:
        raise Refused.because(f"{tenant.name}: it has no component memory_plugin", "leave PLUGIN= out")
    print(entrypoint(tenant.ordered_components, plugin), end="")


def inject(_: Fleet, options: argparse.Namespace) -> None:
    """Print the URL from standard input with a component's search_path in it."""
    if options.component not in COMPONENTS:
        fact = f"COMPONENT: {options.component!r} is not a component"
        raise Refused.because(fact, f"it is one of {', '.join(COMPONENTS)}")
    url = sys.stdin.read().removesuffix("\n")
    print(with_search_path(url, options.component, dialect=options.dialect, name="the URL"))


def logs(fleet: Fleet, options: argparse.Namespace) -> NoReturn:
    """Print the whole log of the container. What clients wrote into it moves no cursor and hides no line."""
    tenant = _tenant(fleet, options)
    identity = _identity(tenant)
    _become(identity)
    for number in (signal.SIGINT, signal.SIGPIPE):  # Ctrl-C and `| head` end it without a word
        signal.signal(number, signal.SIG_DFL)
    command = ["podman", "logs", "--timestamps", layout.container(tenant.name)]
    environment = identity.environment()
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    with subprocess.Popen(
        command, executable=program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None  # noqa: S101  (PIPE above)
        for line in process.stdout:
            print(visible(line.removesuffix(b"\n")))
    sys.exit(process.returncode)


def visible(line: bytes) -> str:
    """The line with everything escaped that a terminal would act on instead of showing it."""
    text = line.decode(errors="backslashreplace")
    return "".join(
        letter if letter.isprintable() or letter == "\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _become(identity: Identity) -> None:
    """Make this process the account's, in its home."""
    if identity.uid != os.geteuid():
        os.initgroups(identity.name, identity.gid)
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    os.chdir(identity.home)


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
