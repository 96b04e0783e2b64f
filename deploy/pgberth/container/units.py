"""A tenant's container as a unit of the account's systemd, plain or Quadlet: the same podman arguments in both."""

from __future__ import annotations

from pgberth.container.spec import STOP_TIMEOUT, ContainerSpec
from pgberth.container.supervisor import Supervisor, SystemdUnit
from pgberth.model import layout

# What a unit says in podman's place: systemd restarts.
_OWN = "--restart="
# What Quadlet says itself.
_QUADLETS_OWN = ("--detach", "--name=", _OWN)

_HEAD = """# Written by pgberth; edits are undone by the next deploy.
[Unit]
Description=pgberth tenant {name}
# A server that cannot start is tried again ten times, which takes some seconds, and then left to its operator.
StartLimitIntervalSec=60
StartLimitBurst=10
"""

# podman run would make a volume that is gone anew, empty; data that was lost must not look like data. podman is asked
# only where the volume does not lie in its usual place: at a boot, ten tenants ask at once.
# A container that a person restarts by podman ends the unit's process and runs on outside of the unit: the two lines
# that ask for it fail the unit then, so that systemd takes it in again (--replace) instead of removing it.
# $$MAINPID is empty where the server ended by itself. podman needs a moment to start it again, and must find its
# container then: hence the seconds, and no --rm, on which Quadlet alone insists. 75 and 76 are the guard's refusals:
# again would change nothing.
_SERVICE = """[Service]
{wait}ExecStartPre=/bin/sh -c '{there} || {{ echo "volume {volume} is gone" >&2; exit 76; }}'
ExecStop=/bin/sh -c '[ -n "$$MAINPID" ] || for second in 1 2 3; do {stopped} || exit 1; sleep 1; done'
{stop}ExecStopPost=/bin/sh -c '{stopped}'
{cleanup}Restart=on-failure
RestartPreventExitStatus=75 76
TimeoutStopSec={seconds}

[Install]
WantedBy=default.target
"""
# An address may come later than the boot, or for a while not at all; nobody can listen there before.
_WAIT = (
    "ExecStartPre=/bin/sh -c 'for second in $$(seq 60); do "
    'grep -qwF "|-- {address}" /proc/net/fib_trie && break; sleep 1; done\'\n'
)
_STOPPED = '[ "$$(podman container inspect --format {{{{.State.Status}}}} {name} 2>/dev/null)" != running ]'

# The session bus is kept from podman 4: on a kernel that lists version 1 control groups too it would leave the unit for
# a scope of its own, and systemd would take the unit for ended. Notify=conmon, in both kinds of unit: a server that
# is busy with its crash recovery has started, and must not be ended for not answering yet.
_RUN = """Environment=PODMAN_SYSTEMD_UNIT=%n DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent
Type=notify
NotifyAccess=all
Delegate=yes
KillMode=mixed
SyslogIdentifier=%N
ExecStart=/usr/bin/podman --cgroup-manager=cgroupfs run --replace --cgroups=split --sdnotify=conmon {words}
"""
_REMOVE = "/usr/bin/podman rm --force --ignore {name}\n"


def systemd_unit(spec: ContainerSpec) -> SystemdUnit:
    """The unit that carries this container; an empty one where podman alone does."""
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
    The unit as systemd takes it. One a tenant, not one for all: each is stopped, restarted and booted by itself.
    """
    name = layout.container(spec.tenant.name)
    arguments = [argument for argument in spec.arguments() if not argument.startswith(_OWN)]
    remove = _REMOVE.format(name=name)
    service = _service(spec, f"ExecStop={remove}", f"ExecStopPost=-{remove}")
    run = _RUN.format(words=" ".join(escaped(word) for word in arguments))
    return "\n".join([_head(spec), service.replace("[Service]\n", f"[Service]\n{run}")])


def quadlet(spec: ContainerSpec) -> str:
    """
    The unit as Quadlet takes it.

    Arguments go through PodmanArgs, so that there is one list of them and not two. There is no .volume unit, which
    would make a volume that is gone anew, and no podman secret: no password reaches the server, only verifiers do.
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
    # It listens on loopback only, and must not wait 90 seconds for a network that nobody announces. podman 5.3 made
    # such units wait, and made this key; older ones do neither, and systemd ignores the section.
    alone = "[Quadlet]\nDefaultDependencies=false\n"
    return "\n".join([_head(spec), *container, _service(spec), alone])


def _head(spec: ContainerSpec) -> str:
    return _HEAD.format(name=spec.tenant.name)


def _service(spec: ContainerSpec, stop: str = "", cleanup: str = "") -> str:
    """+ stop, cleanup: what removes the container; Quadlet adds its own"""
    volume, listen = layout.volume(spec.tenant.name, spec.generation), spec.tenant.listen
    return _SERVICE.format(
        volume=volume,
        wait=_WAIT.format(address=listen.address) if listen is not None else "",
        there=f'[ -d "%h/{layout.VOLUMES}/{volume}/_data" ] || podman volume exists {volume}',
        stopped=_STOPPED.format(name=layout.container(spec.tenant.name)),
        stop=stop,
        cleanup=cleanup,
        seconds=STOP_TIMEOUT + 10,
    )


def escaped(word: str) -> str:
    """One word for systemd: % begins a specifier there and $ a variable; blanks, quotes and backslashes need quotes."""
    word = word.replace("%", "%%").replace("$", "$$")
    if not any(special in word for special in " \t\"'\\;"):
        return word
    return '"' + word.replace("\\", r"\\").replace('"', r"\"") + '"'
