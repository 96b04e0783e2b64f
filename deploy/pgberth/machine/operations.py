"""Operations: a machine is able to run tenants."""

from __future__ import annotations

from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import StringCommand

from pgberth import commands
from pgberth.commands import Commands, guarded_operation
from pgberth.machine import preparation
from pgberth.machine.facts import MachineContext, MachineProfile, as_account
from pgberth.machine.images import inspect_images
from pgberth.machine.preparation import MachineFacts
from pgberth.model import layout
from pgberth.model.image import BuiltImage
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Machine

_UNFIT = "runbooks/machine-is-not-fit.md"


def obstacles(context: MachineContext) -> list[Problem]:
    """Everything that keeps the machine from running tenants and that this run cannot fix; each names the machine."""
    facts, machine = context.facts(), context.machine
    if facts is None:
        return [Problem(f"{machine.name}: the machine's facts could not be read", f"see above, and {_UNFIT}")]
    missing = [] if facts.root else preparation.steps(facts)
    found = [Problem(f"{machine.name}: {one.fact}", one.hint) for one in preparation.problems(facts)]
    return [*found, *_for_an_administrator(machine, facts, missing)]


@guarded_operation()
def prepare_machine(context: MachineContext) -> Commands:
    """Provide, as root, what is missing: packages, account, subordinate ids, devices, podman's configuration."""
    facts = context.facts()
    if facts is None or not facts.root:
        return
    for step in preparation.steps(facts):
        context.invalidate()
        yield StringCommand(f"{step.preliminary} {step.command}".strip())
    prepared = context.facts()
    # Only a podman that is installed tells its version.
    if prepared is not facts and (found := obstacles(context)):
        raise Refused(found)
    if prepared is not None and not prepared.configured:
        context.invalidate()
        configure = commands.script("machine/configure-podman.sh")
        yield as_account(prepared, configure, containers_conf(prepared.systemd), timeout=10)


@guarded_operation()
def recover_podman(context: MachineContext) -> Commands:
    """
    podman forgets processes that are gone. After all of the account's were killed it refuses every command until then.

    No container of the account runs then.
    """
    facts = context.facts()
    if facts is not None and context.account().orphaned:
        context.invalidate()
        yield as_account(facts, "podman system migrate", timeout=120)


def _for_an_administrator(machine: Machine, facts: MachineFacts, missing: list[preparation.Step]) -> list[Problem]:
    if not missing:
        return []
    fact = f"{machine.name}: this machine is not ready for {facts.account}: {'; '.join(s.name for s in missing)}"
    hint = "an administrator runs, as root:\n" + preparation.administrator_commands(missing)
    return [Problem(fact, hint + "\nthen run the deploy again; nothing was touched")]


def containers_conf(systemd: bool, runtime: str = "") -> str:
    """The service account's containers.conf."""
    lines = ["[engine]"]
    if not systemd:
        lines += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    if runtime:
        lines += [f'runtime = "{runtime}"']
    return "\n".join(lines) + "\n"


@guarded_operation()
def choose_runtime(context: MachineContext) -> Commands:
    """
    Run a hardened container, and record what made it work for the tenants.

    Tried again only where podman or an image has changed.
    """
    facts = context.facts()
    if facts is None or not facts.uid or _is_recorded(context, facts):
        return
    profile = _probe(context, facts, inspect_images(context, facts))
    if profile.runtime and profile.units and not facts.root:
        # Our units do not name the runtime, and the user's own configuration is never edited.
        fact = f"{context.machine.name}: only the OCI runtime {profile.runtime} works for {facts.account}"
        hint = f'write runtime = "{profile.runtime}" under [engine] in ~/.config/containers/containers.conf'
        raise Refused.because(fact, hint)
    configuration = containers_conf(facts.systemd, profile.runtime) if facts.root else ""
    record = commands.script("machine/record-profile.sh")
    yield as_account(facts, record, layout.MACHINE_FILE, profile.to_json(), configuration, timeout=10)


def _is_recorded(context: MachineContext, facts: MachineFacts) -> bool:
    """Whether the recorded profile is of this podman and of these images."""
    account = context.account()
    profile = account.machine_profile
    if profile is None or account.unknown:
        return False
    return (profile.podman, profile.images) == (facts.podman, account.images)


def _probe(context: MachineContext, facts: MachineFacts, known: Mapping[str, BuiltImage]) -> MachineProfile:
    """What a hardened container of the first image needs here. Raises Refused where no OCI runtime can run one."""
    first = known[context.images[0].tag]
    probe = commands.script("machine/probe.sh")
    done, output = host.run_shell_command(
        as_account(facts, probe, first.id, str(first.uid), str(first.gid), timeout=400)
    )
    if not done:
        machine = context.machine.name
        fact = f"{machine}: no OCI runtime could run a hardened container as {facts.account}:{output.stderr}"
        raise Refused.because(fact, "runbooks/no-runtime-works.md")
    return MachineProfile.from_probe(output.stdout_lines, facts, known)
