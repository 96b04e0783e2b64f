"""A tenant's container as a unit of the account's systemd, plain or Quadlet, with the same podman arguments in both."""

from __future__ import annotations

from pgberth import commands
from pgberth.container.spec import STOP_TIMEOUT, ContainerSpec
from pgberth.container.supervisor import Supervisor, SystemdUnit
from pgberth.model import layout

# A unit says this in the place of podman: systemd restarts.
_OWN = "--restart="
# Quadlet says these itself.
_QUADLETS_OWN = ("--detach", "--name=", _OWN)

# The texts of units are templates/container/*.unit. Why they are as they are:
#
# service.unit: `podman run` would create a missing volume again, empty; lost data must not look like data. podman is
# asked only where the volume is not in its usual place: at a boot, ten tenants ask at once. A container that a person
# restarts with podman ends the unit's process and runs on outside of the unit. The two lines that check for it then
# fail the unit, so that systemd takes the container in again (--replace) instead of removing it. $$MAINPID is empty
# where the server ended by itself. podman needs a moment to start it again and must find its container: hence the
# seconds, and no --rm, which only Quadlet insists on. 75 and 76 are the guard's refusals: another try would change
# nothing.
#
# run.unit: podman 4 must not reach the session bus. On a kernel that also lists version 1 control groups it would leave
# the unit for a scope of its own, and systemd would take the unit for ended. Notify=conmon, in both kinds of unit: a
# server that is busy with its crash recovery has started, and must not be stopped because it does not answer yet.

# An address may appear later than the boot, or not for a while; no server can listen there before.
_WAIT = (
    "ExecStartPre=/bin/sh -c 'for second in $$(seq 60); do "
    'grep -qwF "|-- {address}" /proc/net/fib_trie && break; sleep 1; done\'\n'
)
_STOPPED = '[ "$$(podman container inspect --format {{{{.State.Status}}}} {name} 2>/dev/null)" != running ]'
_REMOVE = "/usr/bin/podman rm --force --ignore {name}\n"


def systemd_unit(spec: ContainerSpec) -> SystemdUnit:
    """The unit that runs this container; an empty one where podman alone does."""
    name = spec.tenant.name
    unit = layout.unit(name)
    match spec.supervisor:
        case Supervisor.QUADLET:
            return SystemdUnit(f"{layout.QUADLETS}/{unit}.container", quadlet(spec))
        case Supervisor.UNIT:
            return SystemdUnit(f"{layout.UNITS}/{unit}.service", plain(spec), layout.unit_wanted(name))
        case Supervisor.PODMAN:
            return SystemdUnit()


def plain(spec: ContainerSpec) -> str:
    """
    A plain systemd unit. One for each tenant: each is stopped, restarted and booted by itself.
    """
    name = layout.container(spec.tenant.name)
    arguments = [argument for argument in spec.arguments() if not argument.startswith(_OWN)]
    remove = _REMOVE.format(name=name)
    service = _service(spec, f"ExecStop={remove}", f"ExecStopPost=-{remove}")
    run = commands.script("container/run.unit").format(words=" ".join(escaped(word) for word in arguments))
    return "\n".join([_head(spec), service.replace("[Service]\n", f"[Service]\n{run}")])


def quadlet(spec: ContainerSpec) -> str:
    """
    A Quadlet unit.

    Arguments go through PodmanArgs, so that there is only one list of them. There is no .volume unit, which would
    create a missing volume again, and no podman secret: no password reaches the server, only verifiers do.
    """
    arguments = [argument for argument in spec.options() if not argument.startswith(_QUADLETS_OWN)]
    container = [
        "[Container]",
        f"ContainerName={layout.container(spec.tenant.name)}",
        f"Image={spec.image.id}",
        *(f"PodmanArgs={escaped(argument)}" for argument in arguments),
        "Exec=" + " ".join(escaped(word) for word in spec.command()),
        "",
    ]
    # It must not wait 90 seconds for a network that nothing announces. podman 5.3 brought the wait and this key; older
    # ones do neither, and systemd ignores the section.
    alone = "[Quadlet]\nDefaultDependencies=false\n"
    return "\n".join([_head(spec), *container, _service(spec), alone])


def _head(spec: ContainerSpec) -> str:
    return commands.script("container/head.unit").format(name=spec.tenant.name)


def _service(spec: ContainerSpec, stop: str = "", cleanup: str = "") -> str:
    """+ stop, cleanup: what removes the container; Quadlet adds its own"""
    volume, listen = layout.volume(spec.tenant.name, spec.generation), spec.tenant.listen
    return commands.script("container/service.unit").format(
        volume=volume,
        wait=_WAIT.format(address=listen.address) if listen is not None else "",
        there=f'[ -d "%h/{layout.VOLUMES}/{volume}/_data" ] || podman volume exists {volume}',
        stopped=_STOPPED.format(name=layout.container(spec.tenant.name)),
        stop=stop,
        cleanup=cleanup,
        seconds=STOP_TIMEOUT + 10,
    )


def escaped(word: str) -> str:
    """One word for systemd: % begins a specifier and $ a variable; blanks, quotes and backslashes need quotes."""
    word = word.replace("%", "%%").replace("$", "$$")
    if not any(special in word for special in " \t\"'\\;"):
        return word
    return '"' + word.replace("\\", r"\\").replace('"', r"\"") + '"'
