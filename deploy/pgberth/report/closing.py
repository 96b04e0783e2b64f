"""
What happens at the end of every run of ours: the closing table, and an exit code that tells the truth.

pyinfra alone exits 0 where a --limit matches nothing, after Ctrl-C, and where a host failed under --no-wait. click
calls us when its context closes, whatever the run came to, so that none of these is a success here. config.py has us
called before the inventory is read; without it we come with the connectors, right after.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from pgberth.model.problems import Problem
from pgberth.report.inventory_errors import explain
from pgberth.run import current_run

_VERBS = Path(__file__).resolve().parents[2]


def install() -> None:
    """Hook into the running pyinfra command, once; nothing where pyinfra is used as a library."""
    context = click.get_current_context(silent=True)
    if context is None or context.meta.get(__name__):
        return
    context.meta[__name__] = True
    verb = verb_of(context.params.get("operations") or ())
    if verb is None:
        return
    _known_to_inspect(verb)
    run = current_run()
    run.data.update(item.partition("=")[::2] for item in context.params.get("data") or ())
    run.inventory = str(context.params.get("inventory") or "")
    signal.signal(signal.SIGINT, _interrupt)
    context.call_on_close(lambda: _close(verb))


def _known_to_inspect(verb: str) -> None:
    """
    Let the deploy file pass for a module.

    pyinfra asks `inspect` for the module of every frame at every operation of every host, and for a file that is none
    that is a walk over all modules: 20 ms a tenant and run.
    """
    module = ModuleType(f"pgberth deploy file {verb}")
    module.__file__ = str(_VERBS / f"{verb}.py")
    sys.modules[module.__name__] = module


def verb_of(operations: Any) -> str | None:
    """The verb of ours that this run was started with; None where it is somebody else's deploy."""
    names = [Path(operation) for operation in operations if str(operation).endswith(".py")]
    ours = [path.stem for path in names if path.resolve().parent == _VERBS]
    return ours[0] if ours else None


def _interrupt(*_: Any) -> None:
    current_run().interrupted = True
    click.echo("interrupted: commands under way on the machines run to their end; run the deploy again", err=True)
    sys.exit(130)


def _close(verb: str) -> None:
    from pyinfra.context import ctx_state, state

    from pgberth.report.receipt import current_report
    from pgberth.report.table import write
    from pgberth.report.unfinished import account_for

    refusal = _refusal(sys.exc_info()[1])
    if not ctx_state.isset() or getattr(state, "inventory", None) is None:
        _end(refusal)
        return
    hosts = [host for host in state.inventory if host in state.active_hosts or host in state.failed_hosts]
    for host in filter(state.failed_hosts.__contains__, hosts):
        account_for(verb, state, host)
    matched = [host for host in state.inventory if state.is_host_in_limit(host)]
    failed = {host.name for host in state.failed_hosts} | {
        host.name for host in hosts if state.results.get(host) and state.results[host].error_ops
    }
    if not matched:
        click.echo(_nobody(verb, [host.name for host in state.inventory]), err=True)
    report = current_report()
    write(verb, list(report.receipts.values()), report.notes, failed, verbose=state.print_noop_info)
    if current_run().interrupted:
        sys.exit(130)
    _end(refusal)
    # An exit under way with another code than 0 keeps it; this only turns a false success into a failure. A fault of
    # the bundle's own is pyinfra's to show, which ends with 1 too.
    if (failed or not matched) and not _unexpected(sys.exc_info()[1]):
        sys.exit(1)


def _unexpected(error: BaseException | None) -> bool:
    from pyinfra.api.exceptions import PyinfraError

    return not isinstance(getattr(error, "exception", None), PyinfraError | None)


def _refusal(error: BaseException | None) -> str:
    """What we ended the run for, in our words; "" where it was not us."""
    from pyinfra.api.exceptions import DeployError

    fault = getattr(error, "exception", None)
    if isinstance(fault, DeployError):
        return str(fault)
    refused = explain(error)
    return f"the inventory is refused:\n{refused}" if refused is not None else ""


def _end(refusal: str) -> None:
    """Last of all, so that it is not lost among what was said of hosts."""
    if refusal:
        click.echo(refusal, err=True)
        sys.exit(1)


def _nobody(verb: str, known: list[str]) -> Problem:
    typed = current_run().inventory
    if not known and typed.endswith(".py") and not Path(typed).exists():
        return Problem(f"{verb}: there is no inventory {typed}", "nothing was done; name a file that is there")
    if not known:
        hint = "machines = [machine(...).host], and each ring a list of tenant(...): see inventories/local.py"
        return Problem(f"{verb}: the inventory declares no host", hint)
    fact = f"{verb}: no host of the inventory matches --limit"
    return Problem(fact, f"nothing was done; it has {', '.join(known)}")
