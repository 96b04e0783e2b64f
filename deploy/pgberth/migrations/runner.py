"""
The runner takes a component up or down. Only one runs at a time, and the next one continues after a kill.

A run is one session that holds the component's lock. It reads the ledger, plans, and does one step after the other. A
kill at any point leaves a state that the next run continues. `session` has the lock, `step` a single step.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import Rollback

from pgberth.migrations import ledger
from pgberth.migrations.ledger import Connection, Head
from pgberth.migrations.plan import Plan, Waiting, plan_down, plan_up
from pgberth.migrations.session import BOOTSTRAP, Connect, RetryPolicy, become_owner, locked, opened, retried
from pgberth.migrations.source import SQL_ROOT, Migration, Parameters, sha256
from pgberth.migrations.step import Observe, go_down, go_up, transaction_groups
from pgberth.model.killpoint import killpoint
from pgberth.model.problems import Refused


@dataclass(frozen=True)
class Outcome:
    """
    What a run did.

    + done: the steps applied or reverted, in order; empty if there was nothing to do
    + waiting: the migrations that this target leaves out, and what they wait for
    """

    component: str
    done: tuple[Migration, ...] = ()
    waiting: tuple[Waiting, ...] = ()


def apply(
    connect: Connect,
    component: str,
    parameters: Parameters | None = None,
    *,
    to: str | int | None = None,
    root: Path = SQL_ROOT,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    observe: Observe | None = None,
) -> Outcome:
    """
    Take the component up to a version, the newest by default.

    + connect: opens a new session as memory_migrator, not through a pooler
    + parameters: the tenant's; see plan_up
    + observe: called after each step's body, inside its transaction

    Raises Refused if the history differs, another session holds the lock, or a step fails. Steps before it are done.
    """
    with running(connect, component, retry) as connection:
        plan = plan_up(component, ledger.heads(connection, component), parameters, to, root)
        for group in transaction_groups(plan.steps):
            go_up(connection, group, retry, observe)
        return _outcome(plan)


def revert(
    connect: Connect,
    component: str,
    to: str | int,
    parameters: Parameters | None = None,
    *,
    root: Path = SQL_ROOT,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
) -> Outcome:
    """
    Take the component down until `to` is its newest version; "zero" leaves nothing of it.

    Every version is one transaction, newest first. Raises Refused as `apply` does, and if a down file refuses: that
    version and the older ones are then as they were.
    """
    with running(connect, component, retry) as connection:
        heads = ledger.heads(connection, component)
        steps = plan_down(component, heads, to, parameters, root)
        rest = [head for head in heads if head.kind != "versioned" and head.state == "applied"]
        for migration in steps:
            dependents = tuple(head for head in rest if migration.version in head.needs)
            go_down(connection, migration, dependents, retry)
            rest = [head for head in rest if head not in dependents]
        return Outcome(component, steps)


def run_code(
    connect: Connect,
    component: str,
    name: str,
    parameters: Parameters,
    action: Callable[[Connection], bool],
    *,
    after: tuple[str, ...],
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
) -> bool:
    """
    Do a step that is code, such as register_model, and record it in the ledger. Returns True if it changed anything.

    + parameters: recorded; from then on the component's files may use them as values, and they open gates
    + action: checks the database, does what is missing, and returns whether it changed anything; it runs as
      memory_owner, in one transaction with the ledger row
    + after: versions that it depends on; when one of them is reverted, the step counts as reverted too

    Raises Refused if a version of `after` is not applied, or if the step was done with other parameters.
    """
    step = _code_step(component, name, parameters, after)
    with running(connect, component, retry) as connection:
        heads = {head.version: head for head in ledger.heads(connection, component) if head.state == "applied"}
        _refuse_code(step, heads)
        return retried(connection, component, lambda: _act(connection, step, action, name in heads), retry)


def _code_step(component: str, name: str, parameters: Parameters, after: tuple[str, ...]) -> Migration:
    return Migration(
        component=component,
        version=name,
        name=name,
        kind="code",
        up="",
        down="",
        verify="",
        template_sha256=sha256(""),
        rendered_sha256=sha256(""),
        parameters=parameters,
        transactional=True,
        needs=after,
    )


def _refuse_code(step: Migration, applied: dict[str, Head]) -> None:
    missing = [version for version in step.needs or () if version not in applied]
    if missing:
        fact = f"{step.title} needs {step.component} {', '.join(missing)}, which is not applied"
        raise Refused.because(fact, f"Migrate {step.component} first.")
    before = applied.get(step.version)
    if before is not None and dict(before.parameters) != dict(step.parameters):
        raise Refused.because(
            f"{step.title} was done with {_shown(before.parameters)}, not with {_shown(step.parameters)}",
            "A recorded step stays as it is. Another signature needs a re-embed into a new profile.",
        )


def _shown(parameters: Parameters) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(parameters.items()))


def _act(connection: Connection, step: Migration, action: Callable[[Connection], bool], recorded: bool) -> bool:
    changed = False
    with connection.transaction() as transaction:
        ledger.record(connection, step, "started")
        changed = action(connection)
        if recorded and not changed:
            raise Rollback(transaction)
        ledger.record(connection, step, "applied")
        killpoint(f"migrate.{step.component}.{step.version}.ran")
    return changed or not recorded


def _outcome(plan: Plan) -> Outcome:
    return Outcome(plan.component, plan.steps, plan.waiting)


@contextmanager
def running(connect: Connect, component: str, retry: RetryPolicy) -> Iterator[Connection]:
    """A session as memory_owner that holds the component's lock, in a database that has a ledger."""
    with opened(connect, application("migrate")) as connection:
        become_owner(connection)
        if not ledger.exists(connection):
            # CREATE ... IF NOT EXISTS would not help: two sessions that run it at once still collide.
            with locked(connection, BOOTSTRAP, retry):
                if not ledger.exists(connection):
                    ledger.create(connection)
        with locked(connection, component, retry):
            killpoint(f"migrate.{component}.locked")
            yield connection


def application(verb: str) -> str:
    """Who does what, for the sessions that wait. The server keeps 63 bytes of it."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        user = str(os.getuid())
    return f"pgberth {verb}: {user}@{socket.gethostname()} pid {os.getpid()}"[:63]
