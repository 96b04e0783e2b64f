"""Operations: one tenant has its secrets, its volume and its container."""

from __future__ import annotations

from dataclasses import replace

from pyinfra import host, state

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
from pgberth.container.volumes import next_generation, own_volume, volumes_of
from pgberth.model import layout
from pgberth.model.image import BuiltImage
from pgberth.model.tenant import Tenant

_FOREIGN_PAGE = "runbooks/foreign-volume.md"


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
def data_is_its_own(context: TenantContext) -> Commands:
    """What a running container serves is this tenant's data. It comes before anything is sent to the server."""
    yield from ()
    if state.is_executing and context.observe().ready:
        refuse_foreign_container(context)
        context.require_own_data()


@guarded_operation()
def volume_initialised(context: TenantContext) -> Commands:
    """
    The live generation's volume holds an initialised cluster, and the spec file names it.

    The newest volume that is marked as this tenant's is adopted and never initialised again. One without a marker that
    holds anything is kept as it is, and named: the next generation stands beside it.
    """
    observed = context.observe()
    if not observed.ready:
        return
    refuse_foreign_container(context)  # before anything is sent to a container of that name
    if observed.spec.generation is not None:
        return
    image, volumes = usable_image(context), volumes_of(context)
    found = own_volume(context.name, volumes)
    if found is not None:
        refuse_other_major(context.tenant, image, found.major)
        generation = found.generation
    else:
        generation = next_generation(volumes)
        for volume in (one for one in volumes if one.generation != generation):
            host.log(f"{context.name}: volume {volume.name} has no marker, so it is kept as it is; {_FOREIGN_PAGE}")
        # No observation shows a volume before the spec file names it and a container runs on it.
        yield context.change(
            commands.script("container/initialise.sh"),
            *init_arguments(context.tenant, image, generation),
            timeout=300,
            stdin=commands.script("container/init.sh"),
            after=observed,
        )
    yield context.write(layout.spec_file(context.name), initial_spec(context, image, generation).text())


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
