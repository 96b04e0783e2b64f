"""What a tenant's container, image and spec file should be, and why it can have none."""

from __future__ import annotations

from pgberth.container.context import TenantContext
from pgberth.container.spec import ContainerSpec
from pgberth.container.state import TenantState
from pgberth.container.supervisor import supervisor_of
from pgberth.model import layout
from pgberth.model.image import PGVECTOR_FLOOR, PGVECTOR_LEAST, BuiltImage, dotted, version_of
from pgberth.model.problems import Refused
from pgberth.model.profile import for_major
from pgberth.model.spec_file import SpecFile
from pgberth.model.tenant import Tenant
from pgberth.rendering.configuration import restart_files

SPEC_LOST = "run deploy/provision.py --limit {}: it writes the file again; runbooks/spec-file-is-wrong.md"


def desired_spec(context: TenantContext) -> ContainerSpec:
    """The container that this tenant should have. Raises Refused where it can have none."""
    tenant, observed = context.tenant, context.observe()
    machine, image = context.require_machine(), usable_image(context)
    _refuse_misread_spec(tenant, observed)
    if observed.spec.major is not None:
        refuse_other_major(tenant, image, observed.spec.major)
    files = {name: for_major(text, image.major) for name, text in restart_files(tenant).items()}
    return ContainerSpec(
        tenant=tenant,
        image=image,
        generation=observed.spec.generation or 1,
        home=machine.home,
        podman=machine.podman,
        limits=machine.limits,
        files=files,
        supervisor=supervisor_of(machine.podman, machine.units),
    )


def spec_or_none(context: TenantContext) -> ContainerSpec | None:
    """The same, for those who only compare; None where the tenant can have none."""
    try:
        return desired_spec(context)
    except Refused:
        return None


def _refuse_misread_spec(tenant: Tenant, observed: TenantState) -> None:
    """The tenant's spec file must agree with what runs."""
    if observed.container is None or not observed.container.running:
        return
    path = f"~/{layout.spec_file(tenant.name)}"
    running = {"generation": observed.container.generation, "major": str(observed.marker.get("major", ""))}
    for key, runs in running.items():
        recorded = observed.spec.body.get(key)
        if runs and recorded is not None and str(recorded) != runs:
            fact = f"{tenant.name}: {path} says {key} {recorded}, and its container runs on {key} {runs}"
            hint = f"nothing was done; put {key} right in that file: {runs}; runbooks/spec-file-is-wrong.md"
            raise Refused.because(fact, hint)


def usable_image(context: TenantContext) -> BuiltImage:
    """The tenant's image on its machine. Raises Refused where the tenant cannot run from it."""
    tenant = context.tenant
    image = context.require_machine().images.get(tenant.image.tag)
    if image is None:
        fact = f"{tenant.name}: image {tenant.image.tag} is not on {tenant.machine.name}"
        raise Refused.because(fact, "run the deploy once without --limit; it builds or fetches the image")
    _refuse_old_pgvector(tenant, image)
    return image


def _refuse_old_pgvector(tenant: Tenant, image: BuiltImage) -> None:
    found = version_of(image.pgvector)
    if found >= tenant.pgvector_floor:
        return
    if found < PGVECTOR_LEAST:
        floor, hint = PGVECTOR_LEAST, "use a newer image: with this one a filtered search can return too few rows"
    else:
        hint = "use a newer image, or accept HNSW's known corruption with allow_old_pgvector=True"
        floor = PGVECTOR_FLOOR
    fact = f"{tenant.name}: image {tenant.image.tag} carries pgvector {image.pgvector}, {dotted(floor)} is the floor"
    raise Refused.because(fact, hint)


def refuse_foreign_container(context: TenantContext) -> None:
    """Raises Refused where the container of that name is not this tenant's, or podman cannot describe it."""
    name, observed = context.name, context.observe()
    if observed.unknown:
        raise Refused.because(f"{name}: podman cannot describe its container: {observed.unknown}")
    container = observed.container
    if container is not None and container.labels.get(layout.TENANT_LABEL) != name:
        fact = f"{name}: container {layout.container(name)!r} exists and is not this tenant's"
        hint = "rename the tenant, or remove that container if nobody needs it: runbooks/foreign-container.md"
        raise Refused.because(fact, hint)


def initial_spec(context: TenantContext, image: BuiltImage, generation: int) -> SpecFile:
    """The spec file before a container has started; ContainerLaunch.spec_file adds what that was made from."""
    existing = context.observe().spec
    return existing.updated(
        {
            "tenant": context.name,
            "generation": generation,
            "major": image.major,
            "secrets": existing.secret_names,
            "image": image.id,
            "port": context.tenant.port,
            "profile": context.tenant.profile_name,
        }
    )


def refuse_other_major(tenant: Tenant, image: BuiltImage, major: object) -> None:
    """Raises Refused where the volume's major version is not the image's."""
    if major != image.major:
        fact = f"{tenant.name}: its volume holds PostgreSQL {major}, the image is {image.major}"
        raise Refused.because(fact, "nothing was done; give the tenant an image of the volume's major in the inventory")
