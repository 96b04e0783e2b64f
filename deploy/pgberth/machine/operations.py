"""Verbs: make a machine able to carry tenants."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import StringCommand, operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.machine import preparation
from pgberth.machine.facts import Ready, Survey, as_account
from pgberth.machine.preparation import MachineFacts
from pgberth.model import layout
from pgberth.model.problems import Problem
from pgberth.model.tenant import Machine


@operation()
def prepared(survey: Survey) -> Commands:
    """
    Packages, account, subordinate ids and devices are there.

    As root each missing piece is made; otherwise everything missing is listed at once, with the commands for
    an administrator, and nothing is touched.
    """
    facts, machine = survey.facts(), survey.machine
    if facts is None:
        yield commands.refuse(Problem(f"{machine.name}: the machine could not be asked what it has"))
        return
    missing = preparation.steps(facts)
    unmendable = preparation.problems(facts)
    if unmendable or (missing and not facts.root):
        yield commands.refuse(*unmendable, *_for_an_administrator(machine, facts, missing))
        return
    for step in missing:
        survey.forget()
        yield StringCommand(step.command)
    now = survey.facts()
    if now is not None and now.root:
        yield from _configured(now)


def _for_an_administrator(machine: Machine, facts: MachineFacts, missing: list[preparation.Step]) -> list[Problem]:
    if not missing:
        return []
    fact = f"{machine.name}: this machine is not ready for {facts.account}: {'; '.join(s.name for s in missing)}"
    hint = "an administrator runs, as root:\n" + preparation.administrator_commands(missing)
    return [Problem(fact, hint + "\nthen run the deploy again; nothing was touched")]


# Written once: a service account is ours alone. A plain user's own configuration is never edited.
_CONFIGURE = """set -eu
mkdir -p "$HOME/.config/containers"; cd "$HOME/.config/containers"
[ -e storage.conf ] || printf '[storage]\\ndriver = "overlay"\\n' > storage.conf
[ -e containers.conf ] || printf '%s' "$1" > containers.conf
"""
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
        yield as_account(facts, _CONFIGURE, containers_conf(facts.systemd), timeout=10)


@operation()
def images_present(survey: Survey) -> Commands:
    """
    Every image the machine's tenants want is in the account's store, built by its present recipe.

    Built from the distribution's packages: about half a minute, once.
    """
    facts = survey.facts()
    if facts is None or not facts.uid:
        return
    have = survey.account().images
    for image in survey.images:
        found = have.get(image.tag)
        if found is not None and found.recipe == image.recipe:
            continue
        survey.forget()
        yield as_account(
            facts,
            commands.script("machine/build-image.sh"),
            image.suite,
            image.tag,
            image.recipe,
            str(image.postgres),
            mirror(facts),
            ",".join(image.packages),
            timeout=1800,
        )


def mirror(facts: MachineFacts) -> str:
    """The Debian mirror this machine itself uses, or "" to let mmdebstrap choose its own."""
    if "debian" not in facts.distribution.split():
        return ""
    listed = StringCommand("apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages'")
    done, output = host.run_shell_command(listed)
    for line in output.stdout_lines if done else []:
        origin, component, uri = [*line.split(), "", "", ""][:3]
        if (origin, component) == ("Debian", "main") and "security" not in uri:
            return uri
    return ""


@operation()
def runtime_chosen(survey: Survey) -> Commands:
    """
    A hardened container has run here, and what made it work is recorded for the tenants.

    Asked again only when podman or an image changed.
    """
    facts, machine = survey.facts(), survey.machine
    if facts is None or not facts.uid:
        return
    have = survey.account()
    if have.ready is not None and (have.ready.podman, have.ready.images) == (facts.podman, have.images):
        return
    for image in survey.images:
        if image.tag not in have.images:
            yield commands.refuse(Problem(f"{machine.name}: image {image.tag} is not there", "run the deploy again"))
            return
    first = have.images[survey.images[0].tag]
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
    ready = Ready(facts.podman, said["runtime"], said["driver"], limits, facts.home, have.images, units)
    if ready.runtime and units and not facts.root:
        # A unit has no place for it, and the user's own configuration is not ours to edit.
        fact = f"{machine.name}: only the OCI runtime {ready.runtime} works for {facts.account}"
        hint = f'write runtime = "{ready.runtime}" under [engine] in ~/.config/containers/containers.conf'
        yield commands.refuse(Problem(fact, hint))
        return
    configuration = containers_conf(facts.systemd, ready.runtime) if facts.root else ""
    yield as_account(facts, _RECORD, layout.MACHINE_FILE, ready.to_json(), configuration, timeout=10)


_RECORD = """set -eu; umask 077
mkdir -p "$(dirname "$1")"; printf '%s' "$2" > "$1.new"; sync "$1.new"; mv -f "$1.new" "$1"
case $3 in *runtime*) printf '%s' "$3" > "$HOME/.config/containers/containers.conf";; esac
"""
