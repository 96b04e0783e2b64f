"""Verbs: make one tenant's secrets, volume and container so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands
from pgberth.container import quadlet
from pgberth.container.facts import Berth
from pgberth.container.spec import ContainerSpec, hardening
from pgberth.container.state import TenantState
from pgberth.model import layout
from pgberth.model.image import BuiltImage
from pgberth.model.problems import Problem
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


@operation()
def secrets_exist(berth: Berth) -> Commands:
    """Every password the tenant needs is a 0600 file of the service account."""
    state = berth.look()
    if state is None:
        yield commands.refuse(_not_asked(berth.tenant))
        return
    if state.ready is None:
        yield commands.refuse(not_ready(berth.tenant))
        return
    wanted = layout.secret_names(state.spec)
    missing = [name for name in wanted.values() if name not in state.secrets]
    if missing:
        yield berth.change(_MAKE_SECRETS, layout.directory(berth.tenant.name), *missing)


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

# A killed deploy's one-shot container goes first: it may still be writing to the volume that is scrapped.
_INITIALISE = """set -eu
init=$1 volume=$2 tenant=$3 generation=$4; shift 4
for image in "$@"; do
  case $image in sha256:*) podman image exists "$image" && continue ;; *) continue ;; esac
  echo "$tenant: image $image is not in podman's store any more" >&2
  echo "HINT: run the deploy without --limit; it builds the image anew" >&2
  exit 1
done
podman rm --force --time 5 "$init" >/dev/null 2>&1 || true
# podman 4 forgets a container killed while it was being created, but its monitor and runtime live on.
for pid in $(pgrep -u "$(id -u)" -f -- "^[^ ]*conmon .* -n $init "); do
  pkill -KILL -P "$pid" || true; kill -KILL "$pid" || true
done
if podman volume exists "$volume"; then
  owner=$(podman volume inspect --format '{{ index .Labels "pgberth.tenant" }}' "$volume")
  place=$(podman volume inspect --format '{{ .Mountpoint }}' "$volume")
  # What a killed deploy had begun may have come to its end since it was looked at: then there is nothing to do.
  if [ "$owner" = "$tenant" ] && grep -qs '"tenant": "'"$tenant"'",' "$place/MARKER"; then exit 0; fi
  if [ "$owner" != "$tenant" ] || [ -e "$place/MARKER" ]; then
    echo "$tenant: volume $volume is another's, or has been initialised since it was looked at" >&2
    echo "HINT: nothing was removed; run the deploy again, then see runbooks/foreign-volume.md" >&2
    exit 1
  fi
  podman volume rm "$volume" >/dev/null
fi
podman volume create --label "pgberth.tenant=$tenant" --label "pgberth.generation=$generation" "$volume" >/dev/null
runtime=$(sed -n 's/^ *"runtime": "\\([a-z]*\\)".*/\\1/p' "$HOME/MACHINE_FILE" 2>/dev/null || true)
exec podman ${runtime:+--runtime "$runtime"} run "$@"
""".replace("MARKER", layout.MARKER).replace("MACHINE_FILE", layout.MACHINE_FILE)


@operation()
def volume_initialised(berth: Berth) -> Commands:
    """
    The live generation's volume holds an initialised cluster, and the spec file names it.

    A volume with the marker is adopted and never initialised again; one without it never held data and is redone.
    """
    state = berth.look()
    if state is None or state.ready is None:
        return
    tenant = berth.tenant
    if problem := _foreign(tenant, state):  # before anything is sent to a container of that name
        yield commands.refuse(problem)
        return
    if state.generation is not None:
        return
    done, output = host.run_shell_command(commands.shell(_VOLUMES, tenant.name, layout.MARKER, timeout=60))
    if not done:
        yield commands.refuse(Problem(f"{tenant.name}: podman does not list volumes: {output.stderr}"))
        return
    image = usable_image(tenant, state)
    if isinstance(image, Problem):
        yield commands.refuse(image)
        return
    volumes = [line.partition(" ") for line in output.stdout_lines]
    marked = [(name, text) for name, _, text in volumes if text.strip()]
    marker = _marker(tenant, *marked[0]) if marked else None
    if isinstance(marker, Problem):
        yield commands.refuse(marker)
        return
    if marker is None:
        marker = {"tenant": tenant.name, "generation": 1, "major": image.major}
        yield berth.change(_INITIALISE, *_init_arguments(tenant, image, 1), timeout=300, stdin=_script("init.sh"))
    if problem := foreign_marker(tenant, image, marker):
        yield commands.refuse(problem)
        return
    told = {"generation": marker["generation"], "major": marker["major"]}
    yield berth.write(layout.spec_file(tenant.name), _spec_text(tenant, image, state, told))


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
        return Problem(fact, "nothing was started; give the tenant an image of the volume's major in the inventory")
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
def container_running(berth: Berth, files: Mapping[str, str]) -> Commands:
    """
    The tenant's container runs the wanted spec.

    + files: name -> text of the server's configuration

    A running container is never interrupted: where its spec differs, that is `pending: recycle`. One that does
    not run, or runs for nobody, is made anew, whatever state a killed podman left it in; the volume is never touched.
    """
    state = berth.look()
    if state is None or state.ready is None:
        return
    tenant = berth.tenant
    wanted = wanted_spec(tenant, state, files)
    found = state.container
    if isinstance(wanted, Problem):
        yield commands.refuse(wanted)
        return
    if problem := _foreign(tenant, state):
        yield commands.refuse(problem)
        return
    if found is not None and found.running and found.attended:
        if found.spec_hash != wanted.hash:
            host.noop(f"pending: recycle (spec {found.spec_hash or 'unknown'} runs, {wanted.hash} is wanted)")
        elif state.spec.get("hash") != wanted.hash:  # the file was lost, and made anew from the volume's marker
            yield berth.write(layout.spec_file(tenant.name), _running_spec_text(state, wanted))
        return
    for name, text in files.items():
        yield berth.write(f"{layout.etc(tenant.name)}/{name}", text, "0700" if name.endswith(".sh") else "0600")
    if state.spec.get("hash") != wanted.hash:
        yield berth.write(layout.spec_file(tenant.name), _running_spec_text(state, wanted))
    log = f"{layout.directory(tenant.name)}/previous.log"
    unit = quadlet.unit(wanted) if wanted.units else ""
    start = [tenant.name, wanted.image.bindir, f"{tenant.port:04X}", "60", log, *wanted.arguments()]
    yield berth.change(_script("start.sh"), *start, timeout=150, stdin=unit)


def wanted_spec(tenant: Tenant, state: TenantState, files: Mapping[str, str]) -> ContainerSpec | Problem:
    """The container this tenant should have on its machine, or why it can have none."""
    image = usable_image(tenant, state)
    if isinstance(image, Problem) or state.ready is None:
        return image if isinstance(image, Problem) else not_ready(tenant)
    if state.spec.get("major", image.major) != image.major:
        fact = f"{tenant.name}: its volume holds PostgreSQL {state.spec['major']}, the image is {image.major}"
        return Problem(fact, "nothing was started; give the tenant an image of the volume's major in the inventory")
    ready = state.ready
    units = quadlet.usable(ready.podman, ready.units)
    return ContainerSpec(tenant, image, state.generation or 1, ready.home, ready.podman, ready.limits, files, units)


def usable_image(tenant: Tenant, state: TenantState) -> BuiltImage | Problem:
    """The tenant's image on its machine, or why it cannot run from it."""
    image = state.ready.images.get(tenant.image.tag) if state.ready is not None else None
    if image is None:
        fact = f"{tenant.name}: image {tenant.image.tag} is not on {tenant.machine.name}"
        return Problem(fact, "run the deploy once without --limit; it builds the image")
    if image.pgvector_is_old and not tenant.allow_old_pgvector:
        fact = f"{tenant.name}: image {tenant.image.tag} carries pgvector {image.pgvector}, 0.8.4 is the floor"
        return Problem(fact, "use a newer suite, or accept HNSW's known corruption with allow_old_pgvector=True")
    return image


def _foreign(tenant: Tenant, state: TenantState) -> Problem | None:
    if state.unknown:
        return Problem(f"{tenant.name}: podman cannot tell about its container: {state.unknown}")
    found = state.container
    if found is not None and found.labels.get(layout.TENANT_LABEL) != tenant.name:
        fact = f"{tenant.name}: container {layout.container(tenant.name)!r} exists and is not this tenant's"
        hint = "rename the tenant, or remove that container if nobody needs it: runbooks/foreign-container.md"
        return Problem(fact, hint)
    return None


def _running_spec_text(state: TenantState, wanted: ContainerSpec) -> str:
    body = {
        **state.spec,
        "image": wanted.image.id,
        "port": wanted.tenant.port,
        "profile": wanted.tenant.profile_name,
        "hash": wanted.hash,
    }
    return json.dumps(body, indent=2, sort_keys=True) + "\n"
