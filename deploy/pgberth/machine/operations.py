"""Verbs: make a machine able to carry tenants."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import StringCommand, operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.machine import images, preparation
from pgberth.machine.facts import MachineContext, MachineProfile, as_account
from pgberth.machine.preparation import MachineFacts
from pgberth.model import layout
from pgberth.model.problems import Problem
from pgberth.model.tenant import Machine

_UNFIT = "runbooks/machine-is-not-fit.md"


def obstacles(context: MachineContext) -> list[Problem]:
    """All that keeps the machine from carrying tenants and that this run cannot mend; each names the machine."""
    facts, machine = context.facts(), context.machine
    if facts is None:
        return [Problem(f"{machine.name}: the machine could not be asked what it has", f"see above, and {_UNFIT}")]
    missing = [] if facts.root else preparation.steps(facts)
    found = [Problem(f"{machine.name}: {one.fact}", one.hint) for one in preparation.problems(facts)]
    return [*found, *_for_an_administrator(machine, facts, missing)]


@operation()
def prepared(context: MachineContext) -> Commands:
    """Packages, account, subordinate ids and devices are there: as root each missing piece is made."""
    facts = context.facts()
    if facts is None or not facts.root:
        return
    for step in preparation.steps(facts):
        context.invalidate()
        yield StringCommand(f"{step.first} {step.command}".strip())
    now = context.facts()
    # Only what has been installed by now can tell its version.
    if now is not facts and (found := obstacles(context)):
        yield commands.refuse(*found)
    elif now is not None:
        yield from _configured(now)


def _for_an_administrator(machine: Machine, facts: MachineFacts, missing: list[preparation.Step]) -> list[Problem]:
    if not missing:
        return []
    fact = f"{machine.name}: this machine is not ready for {facts.account}: {'; '.join(s.name for s in missing)}"
    hint = "an administrator runs, as root:\n" + preparation.administrator_commands(missing)
    return [Problem(fact, hint + "\nthen run the deploy again; nothing was touched")]


_CONFIGURED = 'test -e "$HOME/.config/containers/storage.conf" && test -e "$HOME/.config/containers/containers.conf"'


def containers_conf(systemd: bool, runtime: str = "") -> str:
    """The service account's containers.conf."""
    lines = ["[engine]"]
    if not systemd:
        lines += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    if runtime:
        lines += [f'runtime = "{runtime}"']
    return "\n".join(lines) + "\n"


def _configured(facts: MachineFacts) -> Commands:
    done, _ = host.run_shell_command(as_account(facts, _CONFIGURED, timeout=10))
    if not done:
        configure = commands.script("machine/configure-podman.sh")
        yield as_account(facts, configure, containers_conf(facts.systemd), timeout=10)


@operation()
def runtime_chosen(context: MachineContext) -> Commands:
    """
    A hardened container has run here, and what made it work is recorded for the tenants.

    Asked again only when podman or an image changed.
    """
    facts, machine = context.facts(), context.machine
    if facts is None or not facts.uid:
        return
    have = context.account()
    recorded = (have.machine_profile.podman, have.machine_profile.images) if have.machine_profile is not None else None
    if recorded == (facts.podman, have.images) and not have.unknown:
        return
    known = images.looked_into(context, facts)
    if isinstance(known, Problem):
        yield commands.refuse(known)
        return
    first = known[context.images[0].tag]
    done, output = host.run_shell_command(
        as_account(facts, commands.script("machine/probe.sh"), first.id, str(first.uid), str(first.gid), timeout=400)
    )
    if not done:
        fact = f"{machine.name}: no OCI runtime could run a hardened container as {facts.account}:{output.stderr}"
        yield commands.refuse(Problem(fact, "runbooks/no-runtime-works.md"))
        return
    said = dict(line.split("=", 1) for line in output.stdout_lines if "=" in line)
    limits = {"memory", "pids"} <= set(said["controllers"].strip("[]").split())
    units = said.get("user_systemd") == "yes"
    machine_profile = MachineProfile(
        facts.podman, said["runtime"], said["driver"], limits, facts.home, known, units, said.get("volumes", "")
    )
    if machine_profile.runtime and units and not facts.root:
        # A unit has no place for it, and the user's own configuration is not ours to edit.
        fact = f"{machine.name}: only the OCI runtime {machine_profile.runtime} works for {facts.account}"
        hint = f'write runtime = "{machine_profile.runtime}" under [engine] in ~/.config/containers/containers.conf'
        yield commands.refuse(Problem(fact, hint))
        return
    configuration = containers_conf(facts.systemd, machine_profile.runtime) if facts.root else ""
    record = commands.script("machine/record-profile.sh")
    yield as_account(facts, record, layout.MACHINE_FILE, machine_profile.to_json(), configuration, timeout=10)
