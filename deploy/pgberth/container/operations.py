"""Operations: one tenant has its secrets, its volume and its container."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyinfra import host

from pgberth import commands
from pgberth.commands import Commands, File, guarded_operation
from pgberth.container.boot import unit_written
from pgberth.container.context import TenantContext
from pgberth.container.desired import (
    desired_spec,
    initial_spec,
    refuse_foreign_container,
    refuse_other_major,
    usable_image,
)
from pgberth.container.launch import ContainerLaunch
from pgberth.container.spec import hardening
from pgberth.model import layout
from pgberth.model.image import BuiltImage
from pgberth.model.problems import Refused
from pgberth.model.tenant import Tenant

_FOREIGN_VOLUME = "nothing was started; runbooks/foreign-volume.md"


@guarded_operation()
def secrets_exist(context: TenantContext) -> Commands:
    """Every password the tenant needs is a 0600 file of the service account."""
    context.require_machine()
    observed = context.observe()
    names = observed.spec.secret_names.values()
    if missing := [name for name in names if name not in observed.secrets]:
        yield from create_secrets(context, *missing)
    loose = [name for name in names if observed.modes.get(f"secrets/{name}", "600") != "600"]
    for name in loose:
        host.log(
            f"{context.name}: repairing: secrets/{name} has mode 0{observed.modes[f'secrets/{name}']}, wanted 0600"
        )
    if loose:
        yield context.change(commands.script("container/close-files.sh"), layout.secrets(context.name), *loose)


def create_secrets(context: TenantContext, *names: str) -> Commands:
    """A secret in each of these files, from its external source or created on the machine; an existing one stays."""
    place, there = layout.secrets(context.name), context.observe().secrets
    kinds = {name: layout.secret_kind(name) for name in names}
    external = {name: context.passwords[kind] for name, kind in kinds.items() if kind in context.passwords}
    if absent := [name for name in external if name not in there]:
        yield context.write_files(*(File(f"{place}/{name}", external[name].reveal() + "\n") for name in absent))
    if own := [name for name in names if name not in external]:
        after = replace(context.observe(), secrets=there.union(names))
        yield context.change(commands.script("container/create-secrets.sh"), place, *own, after=after)


@guarded_operation()
def volume_initialised(context: TenantContext) -> Commands:
    """
    The live generation's volume holds an initialised cluster, and the spec file names it.

    A volume with the marker is adopted and never initialised again; one without it never held data and is redone.
    """
    observed = context.observe()
    if not observed.ready:
        return
    refuse_foreign_container(context)  # before anything is sent to a container of that name
    if observed.spec.generation is not None:
        return
    image, marker = usable_image(context), _newest_marker(context)
    if marker is None:
        marker = {"tenant": context.name, "generation": 1, "major": image.major}
        # No observation shows a volume before the spec file names it and a container runs on it.
        yield context.change(
            commands.script("container/initialise.sh"),
            *init_arguments(context.tenant, image, 1),
            timeout=300,
            stdin=commands.script("container/init.sh"),
            after=observed,
        )
    _refuse_foreign_volume(context.tenant, image, marker)
    spec = initial_spec(context, image, marker["generation"])
    yield context.write(layout.spec_file(context.name), spec.text())


def _newest_marker(context: TenantContext) -> Mapping[str, Any] | None:
    """The marker of the tenant's newest initialised volume; None where there is none. Raises Refused."""
    if context.observe().no_volume:
        return None
    script = commands.script("container/list-volumes.sh")
    done, output = host.run_shell_command(commands.shell(script, context.name, layout.MARKER, timeout=60))
    if not done:
        raise Refused.because(f"{context.name}: podman does not list volumes: {output.stderr}", "run the deploy again")
    lines = [line.partition(" ") for line in output.stdout_lines]
    return next((_marker(context.name, volume, text) for volume, _, text in lines if text.strip()), None)


def _marker(tenant: str, volume: str, text: str) -> Mapping[str, Any]:
    """Raises Refused for one that cannot be read: it marks data all the same."""
    try:
        marker = json.loads(text)
    except ValueError:
        marker = None
    if isinstance(marker, dict) and isinstance(marker.get("generation"), int):
        return marker
    raise Refused.because(f"{tenant}: the marker of its volume {volume} is not understood: {text}", _FOREIGN_VOLUME)


def _refuse_foreign_volume(tenant: Tenant, image: BuiltImage, marker: Mapping[str, object]) -> None:
    if marker.get("tenant") != tenant.name:
        fact = f"{tenant.name}: its volume was initialised for {marker.get('tenant')!r}"
        raise Refused.because(fact, _FOREIGN_VOLUME)
    refuse_other_major(tenant, image, marker.get("major"))


def init_arguments(tenant: Tenant, image: BuiltImage, generation: int) -> list[str]:
    """Arguments of initialise.sh."""
    name, volume = layout.init_container(tenant.name), layout.volume(tenant.name, generation)
    marker = f"{layout.VOLUME_MOUNT}/{layout.MARKER}"
    return [
        *(name, volume, tenant.name, str(generation)),
        *("--rm", "--interactive", f"--name={name}", "--pull=never", "--network=none"),
        *hardening(image),
        f"--label={layout.TENANT_LABEL}={tenant.name}",
        f"--user={image.uid}:{image.gid}",
        # U: the server's user owns the volume's root from the start. Once, here, since it walks the whole volume.
        f"--volume={volume}:{layout.VOLUME_MOUNT}:U,Z",
        "--entrypoint=/bin/sh",
        image.id,
        *("-s", image.bindir, layout.data_directory(image.major), marker, tenant.name, str(generation)),
    ]


@guarded_operation()
def container_running(context: TenantContext) -> Commands:
    """
    The tenant's container runs the desired spec.

    A running container is never interrupted: where its spec differs, that is `pending: recycle`. A container that does
    not run, or that no client can reach, is created again, whatever state a killed podman left it in. The volume is
    never touched.
    """
    observed = context.observe()
    if not observed.ready:
        return
    desired, container = desired_spec(context), observed.container
    refuse_foreign_container(context)
    launch = ContainerLaunch.desired(desired)
    if container is None or not container.running or not container.reachable:
        yield from launch.write_files(context)
        yield launch.start(context)
    elif container.spec_hash != desired.hash:
        host.noop(f"pending: recycle (spec {container.spec_hash or 'unknown'} runs, {desired.hash} is wanted)")
    elif observed.spec.hash != desired.hash:  # the file was lost, and written again from the volume's marker
        yield context.write(layout.spec_file(context.name), launch.spec_file(observed.spec).text())
    else:
        yield from unit_written(context, desired)
