"""
The end of every run of one of our verbs: the closing table, and a correct exit code.

pyinfra alone exits 0 where --limit matches nothing, after Ctrl-C, and where a host failed under --no-wait. None of
these is a success here: click runs `_close` when its context closes, however the run ends. config.py installs it before
the inventory is read; without a config.py the connectors install it, right after.
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
    """Hook into the running pyinfra command, once. Does nothing where pyinfra is used as a library."""
    context = click.get_current_context(silent=True)
    if context is None or context.meta.get(__name__):
        return
    context.meta[__name__] = True
    verb = verb_of(context.params.get("operations") or ())
    if verb is None:
        return
    _register_deploy_file(verb)
    run = current_run()
    run.data.update(item.partition("=")[::2] for item in context.params.get("data") or ())
    run.inventory = str(context.params.get("inventory") or "")
    signal.signal(signal.SIGINT, _interrupt)
    context.call_on_close(lambda: _close(verb))


def _register_deploy_file(verb: str) -> None:
    """
    Register the deploy file as a module.

    pyinfra asks `inspect` for the module of every frame, at every operation of every host. For a file that is not a
    module, `inspect` searches all modules: 20 ms for each tenant of a run.
    """
    module = ModuleType(f"pgberth deploy file {verb}")
    module.__file__ = str(_VERBS / f"{verb}.py")
    sys.modules[module.__name__] = module


def verb_of(operations: Any) -> str | None:
    """Our verb that this run was started with; None where it is another deploy."""
    names = [Path(operation) for operation in operations if str(operation).endswith(".py")]
    ours = [path.stem for path in names if path.resolve().parent == _VERBS]
    return ours[0] if ours else None


def _interrupt(*_: Any) -> None:
    current_run().interrupted = True
    words = "interrupted: commands that already run on the machines continue to their end; run the deploy again"
    click.echo(words, err=True)
    sys.exit(130)


def _close(verb: str) -> None:
    from pyinfra.context import ctx_state, state

    from pgberth.report.receipt import current_report
    from pgberth.report.table import write
    from pgberth.report.unfinished import report_failed

    refusal = _refusal(sys.exc_info()[1])
    if not ctx_state.isset() or getattr(state, "inventory", None) is None:
        _exit_with(refusal)
        return
    for host in _failed_hosts(state):
        report_failed(verb, state, host)
    matched = any(state.is_host_in_limit(host) for host in state.inventory)
    if not matched:
        click.echo(_no_host(verb, [host.name for host in state.inventory]), err=True)
    report, failed = current_report(), _failed_names(state)
    write(verb, list(report.receipts.values()), report.notes, failed, verbose=state.print_noop_info)
    if current_run().interrupted:
        sys.exit(130)
    _exit_with(refusal)
    # This only turns a false success into a failure. An exit code other than 0 stays as it is, and pyinfra itself shows
    # an error in the bundle, with exit code 1.
    if (failed or not matched) and not _is_unexpected(sys.exc_info()[1]):
        sys.exit(1)


def _failed_hosts(state: Any) -> list[Any]:
    """The failed hosts of the run, in the inventory's order."""
    return [host for host in state.inventory if host in state.failed_hosts]


def _failed_names(state: Any) -> set[str]:
    """The names of the hosts that failed, also of those that went on under --no-wait."""
    went_on = {host.name for host in state.active_hosts if state.results.get(host) and state.results[host].error_ops}
    return {host.name for host in state.failed_hosts} | went_on


def _is_unexpected(error: BaseException | None) -> bool:
    from pyinfra.api.exceptions import PyinfraError

    return not isinstance(getattr(error, "exception", None), PyinfraError | None)


def _refusal(error: BaseException | None) -> str:
    """The message of the refusal that ended the run; "" where no refusal did."""
    from pyinfra.api.exceptions import DeployError

    fault = getattr(error, "exception", None)
    if isinstance(fault, DeployError):
        return str(fault)
    refused = explain(error)
    return f"the inventory is refused:\n{refused}" if refused is not None else ""


def _exit_with(refusal: str) -> None:
    """Print the refusal last, below the lines about hosts, and exit; return where there is none."""
    if refusal:
        click.echo(refusal, err=True)
        sys.exit(1)


def _no_host(verb: str, known: list[str]) -> Problem:
    """Why the run had no host. + known: the names of the inventory's hosts"""
    typed = current_run().inventory
    if not known and typed.endswith(".py") and not Path(typed).exists():
        return Problem(f"{verb}: there is no inventory {typed}", "nothing was done; give the path of an inventory file")
    if not known:
        hint = "machines = [machine(...).host], and each ring a list of tenant(...): see inventories/local.py"
        return Problem(f"{verb}: the inventory declares no host", hint)
    fact = f"{verb}: no host of the inventory matches --limit"
    return Problem(fact, f"nothing was done; it has {', '.join(known)}")
