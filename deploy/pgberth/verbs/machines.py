"""Machine work, and the barrier between it and the tenants."""

from __future__ import annotations

from pyinfra import inventory, state
from pyinfra.api.exceptions import DeployError

from pgberth.commands import Commands, guarded_operation
from pgberth.inventory.load import Fleet
from pgberth.machine import images
from pgberth.machine import operations as machine_room
from pgberth.machine.facts import MachineContext
from pgberth.machine.image_inventory import ImageInventory
from pgberth.model.image import Image
from pgberth.model.problems import Refused
from pgberth.model.tenant import Machine, Tenant
from pgberth.report.receipt import current_report
from pgberth.run import current_run


def check(found: Fleet) -> None:
    """
    What the inventory names on the control machine itself is there.

    Raises DeployError with every problem at once, before anything is touched.
    """
    desired = {tenant.image.archive: tenant for tenant in found.tenants.values() if tenant.image.archive}
    if problems := list(images.archive_problems(desired)):
        raise DeployError(f"the inventory is refused:\n{Refused(problems)}")


def prepare(found: Fleet, machine: Machine) -> None:
    """Everything a machine needs before its tenants' turn."""
    context, image_inventory = MachineContext(machine, images_on(found, machine.name)), _image_inventory(found)
    fit(name="machine is fit", context=context, image_inventory=image_inventory)
    machine_room.prepare_machine(name="machine is prepared", context=context)
    if context.images:
        machine_room.recover_podman(name="podman works", context=context)
        images.make_images(name="image is made", context=context, image_inventory=image_inventory)
        images.provide_images(name="image is present", context=context, image_inventory=image_inventory)
        machine_room.choose_runtime(name="a container has run", context=context)


def images_on(found: Fleet, machine: str) -> list[Image]:
    """What the machine's tenants want to run from."""
    return list(dict.fromkeys(tenant.image for tenant in found.tenants_on(machine)))


def _image_inventory(found: Fleet) -> ImageInventory:
    """What all machines of the run have between them."""
    desired = {name: images_on(found, name) for name in found.machines}
    return current_run().part(ImageInventory, lambda: ImageInventory(desired, has_failed))


def has_failed(machine: str) -> bool:
    """Whether the machine of that name failed in this run."""
    return inventory.get_host(machine) in state.failed_hosts


@guarded_operation()
def fit(context: MachineContext, image_inventory: ImageInventory) -> Commands:
    """
    Nothing keeps the machine from carrying tenants that this run cannot mend.

    All machines come past here before anything is done on any. What stands in the way on all of them is listed
    together, at the end of the run; a machine that is not fit is not touched, the others go on.
    """
    yield from ()
    if not state.is_executing:
        return
    found = machine_room.obstacles(context)
    current_report().notes.extend(str(problem) for problem in found)
    if found:
        fact = f"{context.machine.name}: this machine is not fit: {len(found)} problem(s), listed at the end of the run"
        raise Refused.because(fact, "nothing of it was touched")
    images.record_images(context, image_inventory)


@guarded_operation()
def barrier(tenant: Tenant | None) -> Commands:
    """
    Machines come before tenants, and a failed machine stops its own tenants only.

    pyinfra interleaves hosts that share no operation; this one all of them run. It yields nothing where the
    machine is well, so it never counts as a change.
    """
    yield from ()
    if tenant is None:
        return
    machine = inventory.get_host(tenant.machine.name)
    if machine in state.failed_hosts:
        fact = f"{tenant.name}: its machine {tenant.machine.name} failed; see above"
        raise Refused.because(fact, "mend the machine, then run the deploy again")
