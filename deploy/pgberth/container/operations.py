"""Verbs: make one tenant's secrets, volume and container so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands, File
from pgberth.container.boot import unit_written
from pgberth.container.context import TenantContext
from pgberth.container.launch import ContainerLaunch, spec_text
from pgberth.container.spec import ContainerSpec, hardening
from pgberth.container.state import TenantState
from pgberth.container.supervisor import supervisor_of
from pgberth.model import layout
from pgberth.model.image import BuiltImage
from pgberth.model.problems import Problem
from pgberth.model.profile import for_major
from pgberth.model.tenant import Tenant

# Made on the machine itself, from the kernel's randomness: a new secret travels nowhere.
# 24 bytes are 32 letters of base64url, which nothing needs to quote.
_MAKE_SECRETS = """set -eu; umask 077
cd "$HOME/$1/secrets" 2>/dev/null || { mkdir -p "$HOME/$1/secrets"; cd "$HOME/$1/secrets"; }
shift
for name in "$@"; do
  [ ! -s "$name" ] || continue
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' > ".$name.new"
  sync ".$name.new"; mv ".$name.new" "$name"
done
sync .
"""

_CLOSE_SECRETS = 'cd "$HOME/$1/secrets" && shift && chmod 0600 -- "$@"'


@operation()
def secrets_exist(context: TenantContext) -> Commands:
    """Every password the tenant needs is a 0600 file of the service account."""
    state = context.observe()
    if state is None:
        yield commands.refuse(_not_asked(context.tenant))
        return
    if state.machine_profile is None:
        yield commands.refuse(not_ready(context.tenant))
        return
    desired = layout.secret_names(state.spec)
    missing = [name for name in desired.values() if name not in state.secrets]
    if missing:
        yield from make_secrets(context, *missing)
    if loose := [name for name in desired.values() if state.modes.get(f"secrets/{name}", "600") != "600"]:
        for name in loose:
            found = state.modes[f"secrets/{name}"]
            host.log(f"{context.tenant.name}: repairing: secrets/{name} has mode 0{found}, wanted 0600")
        yield context.change(_CLOSE_SECRETS, layout.directory(context.tenant.name), *loose)


def make_secrets(context: TenantContext, *names: str) -> Commands:
    """A new secret in each of these files, made there or given by its source; one that is there stays."""
    observed = context.observe()
    there = observed.secrets if observed is not None else frozenset()
    given = {name: context.given[kind] for name in names if (kind := layout.secret_kind(name)) in context.given}
    place = layout.directory(context.tenant.name)
    if absent := [name for name in given if name not in there]:
        yield context.write_files(*(File(f"{place}/secrets/{name}", given[name].reveal() + "\n") for name in absent))
    made = [name for name in names if name not in given]
    after = replace(observed, secrets=there.union(names)) if observed is not None else None
    if made:
        yield context.change(_MAKE_SECRETS, place, *made, after=after)


def not_ready(tenant: Tenant) -> Problem:
    """A tenant on a machine that no deploy has prepared."""
    fact = f"{tenant.name}: machine {tenant.machine.name} is not ready for tenants"
    return Problem(fact, "run the deploy once without --limit; it prepares the machine")


def _not_asked(tenant: Tenant) -> Problem:
    fact = f"{tenant.name}: the account {tenant.machine.account} on {tenant.machine.name} could not be asked"
    return Problem(fact, "run the deploy once without --limit; it prepares the machine")


# Volumes of this tenant, newest first, with what each one's marker says; a volume without one never held data.
_VOLUMES = """names=$(podman volume ls --filter "label=pgberth.tenant=$1" --format '{{.Name}}') || exit 1
for name in $(printf '%s' "$names" | sort -Vr); do
  place=$(podman volume inspect --format '{{.Mountpoint}}' "$name")
  printf '%s %s\\n' "$name" "$(cat "$place/$2" 2>/dev/null)"
done"""


@operation()
def volume_initialised(context: TenantContext) -> Commands:
    """
    The live generation's volume holds an initialised cluster, and the spec file names it.

    A volume with the marker is adopted and never initialised again; one without it never held data and is redone.
    """
    state = context.observe()
    if state is None or state.machine_profile is None:
        return
    tenant = context.tenant
    if problem := foreign(tenant, state):  # before anything is sent to a container of that name
        yield commands.refuse(problem)
        return
    if state.generation is not None:
        return
    volumes = _volumes(tenant, state)
    if isinstance(volumes, Problem):
        yield commands.refuse(volumes)
        return
    image = usable_image(tenant, state)
    if isinstance(image, Problem):
        yield commands.refuse(image)
        return
    marked = [(name, text) for name, text in volumes if text.strip()]
    marker = _marker(tenant, *marked[0]) if marked else None
    if isinstance(marker, Problem):
        yield commands.refuse(marker)
        return
    if marker is None:
        marker = {"tenant": tenant.name, "generation": 1, "major": image.major}
        arguments = _init_arguments(tenant, image, 1)
        # A volume shows in no look before the spec file names it and a container runs on it.
        script, stdin = _script("initialise.sh"), _script("init.sh")
        yield context.change(script, *arguments, timeout=300, stdin=stdin, after=state)
    if problem := foreign_marker(tenant, image, marker):
        yield commands.refuse(problem)
        return
    told = {"generation": marker["generation"], "major": marker["major"]}
    yield context.write(layout.spec_file(tenant.name), _spec_text(tenant, image, state, told))


def _volumes(tenant: Tenant, state: TenantState) -> list[tuple[str, str]] | Problem:
    """The tenant's volumes, newest first, each with what its marker says."""
    if state.no_volume:
        return []
    done, output = host.run_shell_command(commands.shell(_VOLUMES, tenant.name, layout.MARKER, timeout=60))
    if not done:
        return Problem(f"{tenant.name}: podman does not list volumes: {output.stderr}", "run the deploy again")
    return [(name, text) for name, _, text in (line.partition(" ") for line in output.stdout_lines)]


def _init_arguments(tenant: Tenant, image: BuiltImage, generation: int) -> list[str]:
    name, volume = layout.init_container(tenant.name), layout.volume(tenant.name, generation)
    marker = f"{layout.VOLUME_MOUNT}/{layout.MARKER}"
    return [
        *(name, volume, tenant.name, str(generation)),
        *("--rm", "--interactive", f"--name={name}", "--pull=never", "--network=none"),
        *hardening(image),
        f"--label={layout.TENANT_LABEL}={tenant.name}",
        f"--user={image.uid}:{image.gid}",
        # U: the volume's root belongs to the server's user from the start; once, here, since it walks the whole volume.
        f"--volume={volume}:{layout.VOLUME_MOUNT}:U,Z",
        "--entrypoint=/bin/sh",
        image.id,
        *("-s", image.bindir, layout.data_directory(image.major), marker, tenant.name, str(generation)),
    ]


def _marker(tenant: Tenant, volume: str, text: str) -> Mapping[str, Any] | Problem:
    """What a volume's marker says. One that cannot be read marks data all the same."""
    try:
        marker = json.loads(text)
    except ValueError:
        marker = None
    if isinstance(marker, dict) and isinstance(marker.get("generation"), int):
        return marker
    fact = f"{tenant.name}: the marker of its volume {volume} is not understood: {text}"
    return Problem(fact, "nothing was started; runbooks/foreign-volume.md")


def foreign_marker(tenant: Tenant, image: BuiltImage, marker: Mapping[str, object]) -> Problem | None:
    """Why this volume must not be started by this tenant's image; None where it may."""
    if marker.get("tenant") != tenant.name:
        fact = f"{tenant.name}: its volume was initialised for {marker.get('tenant')!r}"
        return Problem(fact, "nothing was started; runbooks/foreign-volume.md")
    if marker.get("major") != image.major:
        fact = f"{tenant.name}: its volume holds PostgreSQL {marker.get('major')}, the image is {image.major}"
        return Problem(fact, "nothing was done; give the tenant an image of the volume's major in the inventory")
    return None


def _spec_text(tenant: Tenant, image: BuiltImage, state: TenantState, marker: Mapping[str, object]) -> str:
    body = {
        "tenant": tenant.name,
        **marker,
        "secrets": layout.secret_names(state.spec),
        "image": image.id,
        "port": tenant.port,
        "profile": tenant.profile_name,
    }
    return json.dumps({**state.spec, **body}, indent=2, sort_keys=True) + "\n"


@cache
def _script(name: str) -> str:
    return commands.script(f"container/{name}")


@operation()
def container_running(context: TenantContext, files: Mapping[str, str]) -> Commands:
    """
    The tenant's container runs the wanted spec.

    + files: name -> text of the server's configuration

    A running container is never interrupted: where its spec differs, that is `pending: recycle`. One that does
    not run, or runs for nobody, is made anew, whatever state a killed podman left it in; the volume is never touched.
    """
    state = context.observe()
    if state is None or state.machine_profile is None:
        return
    tenant = context.tenant
    desired = desired_spec(tenant, state, files)
    found = state.container
    if isinstance(desired, Problem):
        yield commands.refuse(desired)
        return
    if problem := foreign(tenant, state):
        yield commands.refuse(problem)
        return
    if found is not None and found.running and found.reachable:
        if found.spec_hash != desired.hash:
            host.noop(f"pending: recycle (spec {found.spec_hash or 'unknown'} runs, {desired.hash} is wanted)")
        elif state.spec.get("hash") != desired.hash:  # the file was lost, and made anew from the volume's marker
            yield context.write(
                layout.spec_file(tenant.name), spec_text(ContainerLaunch.desired(desired).body(state.spec))
            )
        else:
            yield from unit_written(context, state, desired)
        return
    launch = ContainerLaunch.desired(desired)
    yield from launch.written(context, state.spec)
    yield launch.start(context)


def desired_spec(tenant: Tenant, state: TenantState, files: Mapping[str, str]) -> ContainerSpec | Problem:
    """The container this tenant should have, or why it can have none. + files: as the newest major takes them."""
    image = usable_image(tenant, state)
    if isinstance(image, Problem) or state.machine_profile is None:
        return image if isinstance(image, Problem) else not_ready(tenant)
    if problem := _misread(tenant, state):
        return problem
    if state.spec.get("major", image.major) != image.major:
        fact = f"{tenant.name}: its volume holds PostgreSQL {state.spec['major']}, the image is {image.major}"
        return Problem(fact, "nothing was done; give the tenant an image of the volume's major in the inventory")
    ready, files = state.machine_profile, {name: for_major(text, image.major) for name, text in files.items()}
    supervisor, generation = supervisor_of(ready.podman, ready.units), state.generation or 1
    return ContainerSpec(tenant, image, generation, ready.home, ready.podman, ready.limits, files, supervisor)


SPEC_LOST = "run deploy/provision.py --limit {}: it writes the file anew; runbooks/spec-file-is-wrong.md"


def _misread(tenant: Tenant, state: TenantState) -> Problem | None:
    """What the tenant's spec file says against what runs; None where both agree, or nothing runs."""
    if state.container is None or not state.container.running:
        return None
    path = f"~/{layout.spec_file(tenant.name)}"
    for key, runs in (("generation", state.container.generation), ("major", str(state.marker.get("major", "")))):
        if runs and key in state.spec and str(state.spec[key]) != runs:
            fact = f"{tenant.name}: {path} says {key} {state.spec[key]}, and its container runs on {key} {runs}"
            return Problem(
                fact, f"nothing was done; put {key} right in that file: {runs}; runbooks/spec-file-is-wrong.md"
            )
    return None


def usable_image(tenant: Tenant, state: TenantState) -> BuiltImage | Problem:
    """The tenant's image on its machine, or why it cannot run from it."""
    image = state.machine_profile.images.get(tenant.image.tag) if state.machine_profile is not None else None
    if image is None:
        fact = f"{tenant.name}: image {tenant.image.tag} is not on {tenant.machine.name}"
        return Problem(fact, "run the deploy once without --limit; it builds or fetches the image")
    if image.pgvector_is_old and not tenant.allow_old_pgvector:
        fact = f"{tenant.name}: image {tenant.image.tag} carries pgvector {image.pgvector}, 0.8.4 is the floor"
        return Problem(fact, "use a newer image, or accept HNSW's known corruption with allow_old_pgvector=True")
    return image


def foreign(tenant: Tenant, state: TenantState) -> Problem | None:
    if state.unknown:
        return Problem(f"{tenant.name}: podman cannot tell about its container: {state.unknown}")
    found = state.container
    if found is not None and found.labels.get(layout.TENANT_LABEL) != tenant.name:
        fact = f"{tenant.name}: container {layout.container(tenant.name)!r} exists and is not this tenant's"
        hint = "rename the tenant, or remove that container if nobody needs it: runbooks/foreign-container.md"
        return Problem(fact, hint)
    return None
