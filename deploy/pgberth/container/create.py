"""A new tenant by one command, in the place of one command for each of its parts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pgberth import commands
from pgberth.commands import Commands, File, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.container.desired import desired_spec, initial_spec
from pgberth.container.launch import START_SECONDS, ContainerLaunch, etc_files
from pgberth.container.operations import init_arguments
from pgberth.model import layout
from pgberth.rendering.configuration import reload_files

_INIT_SECONDS = 300


@guarded_operation()
def tenant_created(context: TenantContext) -> Commands:
    """
    A tenant of which the machine has nothing gets its secrets, volume, configuration and container.

    Its steps are those of the operations that follow, in their order, so that these finish it where it is killed. A
    tenant that listens beyond loopback is left to them: its certificate is made on the control machine.
    """
    observed = context.observe()
    nothing = observed.no_volume and not observed.spec and not observed.secrets and observed.container is None
    if not observed.ready or not nothing or observed.unknown or context.tenant.listen is not None:
        return
    spec = desired_spec(context)
    launch, place = ContainerLaunch.desired(spec), layout.secrets(context.name)
    names = observed.spec.secret_names
    own = [name for kind, name in names.items() if kind not in context.passwords]
    files = [
        *(File(f"{place}/{names[kind]}", password.reveal() + "\n") for kind, password in context.passwords.items()),
        *etc_files(context.name, {**launch.files, **reload_files(context.tenant)}),
        File(layout.spec_file(context.name), launch.spec_file(initial_spec(context, spec.image, 1)).text()),
    ]
    init = f"printf '%s' {shlex.quote(commands.script('container/init.sh'))} |"
    text = (
        commands.body("lib.sh")  # once, for all steps
        + _step("container/create-secrets.sh", [place, *own], "</dev/null")
        + _step("container/initialise.sh", init_arguments(context.tenant, spec.image, 1), feed=init)
        + _step("common/write-files.sh", commands.file_arguments(files))
        + f"set -- {shlex.join(launch.start_arguments(context.name, START_SECONDS))}\n"
        + commands.body("container/start.sh")
    )
    stdin = "".join(file.text for file in files) + launch.unit.text
    yield context.change(text, timeout=_INIT_SECONDS + START_SECONDS + 90, stdin=stdin)


def _step(script: str, arguments: Sequence[str], redirect: str = "", feed: str = "") -> str:
    """A script as a part of another one. Not `(...) || exit`: there the shell ignores the script's `set -e`."""
    body = f"{feed} (\nset -- {shlex.join(arguments)}\n{commands.body(script)}\n) {redirect}\n"
    return f'{body}code=$?; [ "$code" -eq 0 ] || exit "$code"\n'
