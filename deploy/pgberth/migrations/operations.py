"""Operations: a tenant's schemas are at the versions its inventory names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from pyinfra.api import FunctionCommand

from pgberth.commands import guarded_operation
from pgberth.container.activity import activity_now
from pgberth.container.context import TenantContext
from pgberth.database.problems import named, run_reporting_problems
from pgberth.inventory.rules import did_you_mean
from pgberth.migrations import ledger, rendered, source
from pgberth.migrations.plan import Plan, plan_up
from pgberth.migrations.verify import REPAIRABLE, SchemaFinding, verify_sql
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import MIGRATOR
from pgberth.model.server import Server
from pgberth.model.tenant import Tenant

if TYPE_CHECKING:
    from pgberth.migrations.session import Connect


@guarded_operation()
def at_targets(context: TenantContext) -> Any:
    """
    Each component is at its target version, and nothing of it is missing that can be created again.

    Applied history that differs from the files stops the tenant before anything is done.
    """
    observed, tenant = context.observe(), context.tenant
    if not observed.ready or observed.container is None:
        return
    server = context.require_server()
    try:
        plans = [plan(tenant, component, server) for component in tenant.ordered_components]
    except Refused:
        # The runner refuses again: it reads the ledger's bodies and prints the difference. It changes nothing.
        yield as_migrator(context, _refuse_in_full(tenant))
        return
    behind = [planned.component for planned in plans if planned.steps]
    broken = _broken(server, plans)
    if not behind and not broken:
        return

    def work(connect: Connect) -> None:
        from pgberth.migrations.upgrade import upgrade  # with the driver: only a run that changes something needs it

        upgrade(connect, tenant, behind=behind, broken=broken)

    yield as_migrator(context, work)


@guarded_operation()
def schemas_repaired(context: TenantContext) -> Any:
    """What `repair_schemas` creates again is there. Of a refused history nothing is: the ledger's check reports it."""
    try:
        work = _repairs(context)
    except Refused:
        return
    if work is not None:
        yield as_migrator(context, work)


def repair_schemas(context: TenantContext) -> None:
    """
    What is missing of the schemas, or comes from an older release, and holds no data, is created again at once.

    No version is applied: a component that is behind its target is left to `at_targets`. Raises Refused, or
    psycopg.Error.
    """
    work = _repairs(context)
    if work is None:
        return
    from pgberth.database.session import connect, reached

    password = context.secret("migrator")
    with reached(context.port) as address:
        context.invalidate_server()
        work(lambda: connect(address, MIGRATOR, password))


def _repairs(context: TenantContext) -> Callable[[Connect], None] | None:
    """What `repair_schemas` does, None where there is nothing to do. Raises Refused."""
    tenant, server = context.tenant, context.require_server()
    plans = [plan(tenant, component, server) for component in tenant.ordered_components]
    outdated = [planned.component for planned in plans if planned.steps and _repeats(planned)]
    broken = _broken(server, plans)
    if not outdated and not broken:
        return None

    def work(connect: Connect) -> None:
        from pgberth.migrations.upgrade import upgrade

        upgrade(connect, tenant, behind=outdated, broken=broken)

    return work


def _repeats(planned: Plan) -> bool:
    """Whether all of its steps are repeatables, which give rights and create functions and triggers."""
    return all(step.kind == "repeatable" for step in planned.steps)


def _broken(server: Server, plans: Iterable[Plan]) -> list[str]:
    """The components at their targets of which something that can be created again is missing."""
    return [planned.component for planned in plans if not planned.steps and _repairable(server, planned)]


def plan(tenant: Tenant, component: str, server: Server) -> Plan:
    """
    What the tenant's component still needs, from one observation of its server.

    Raises Refused, each problem naming the tenant.
    """
    try:
        return plan_up(
            component,
            ledger.heads_of(server.ledger),
            tenant.parameters.get(component),
            to=tenant.target(component),
            load=rendered.load,
        )
    except Refused as refused:
        raise Refused(named(tenant, refused.problems)) from refused


def findings(server: Server, planned: Plan) -> list[SchemaFinding]:
    """What the observation of the server found wrong with the versions that are applied."""
    applied = {(migration.component, migration.version) for migration in planned.applied}
    rows = [SchemaFinding(**row) for row in server.findings]
    return [found for found in rows if (found.component, found.version) in applied]


def _repairable(server: Server, planned: Plan) -> bool:
    return any(finding.kind in REPAIRABLE for finding in findings(server, planned))


def findings_sql(tenant: Tenant) -> str:
    """The verify files of the tenant's components, as one SELECT."""
    # What a code step records is unknown before the ledger is read. It opens gates and stands in no verify file, so
    # that any value will do here; what is not applied is left out of the findings afterwards.
    recorded: dict[str, str | int] = dict.fromkeys(source.FROM_CODE, "recorded")
    loaded = [
        rendered.load(component, {**recorded, **tenant.parameters.get(component, {})})
        for component in tenant.ordered_components
    ]
    # A migration whose gate is closed has no rendered text.
    return verify_sql(step for component in loaded for step in component if not step.missing)


def parameter_problems(tenant: Tenant) -> Iterable[Problem]:
    """What is wrong with the tenant's parameters, found by rendering every migration of its components."""
    for component in tenant.ordered_components:
        parameters = tenant.parameters.get(component, {})
        try:
            rendered.load(component, parameters)
        except Refused as refused:
            yield from named(tenant, refused.problems)
            continue
        known = rendered.parameters(component)
        for name in set(parameters) - known:
            fact = f"{tenant.name}: parameters: {component} has no {name!r}{did_you_mean(name, known)}"
            yield Problem(fact, f"it has {', '.join(sorted(known)) or 'none'}")
    for component in set(tenant.parameters) - set(tenant.components):
        fact = f"{tenant.name}: parameters for {component!r}, which is not among its components"
        yield Problem(fact, f"add {component!r} to its components, or take its parameters out")


def as_migrator(context: TenantContext, work: Callable[[Connect], None]) -> FunctionCommand:
    """A command that does the work with sessions of the migrator; its problems fail the tenant's run."""
    return FunctionCommand(_run_as_migrator, (context, work), {})


def _run_as_migrator(state: Any, host: Any, context: TenantContext, work: Callable[[Connect], None]) -> bool:  # noqa: ARG001
    password, port = context.secret("migrator"), context.port  # of the observation that the work was planned by
    container = context.observe().container
    context.invalidate_server()

    def act() -> None:
        from pgberth.database.session import connect, reached

        with reached(port) as address:
            work(lambda: connect(address, MIGRATOR, password))

    done = run_reporting_problems(host, context.tenant, act, partial(activity_now, context.name, container))
    context.invalidate_server()
    return done


def _refuse_in_full(tenant: Tenant) -> Callable[[Connect], None]:
    def work(connect: Connect) -> None:
        from pgberth.migrations.upgrade import refuse_in_full

        refuse_in_full(connect, tenant)

    return work


def waiting(tenant: Tenant, server: Server) -> list[str]:
    """Versions that wait for a value from the operator; none where the history is refused."""
    try:
        plans = [plan(tenant, component, server) for component in tenant.ordered_components]
    except Refused:
        return []  # the ledger's check reports it
    # A version that only waits for another version needs nothing from the operator.
    return [
        str(version)
        for planned in plans
        for version in planned.waiting
        if not all(name.isdigit() for name in version.missing)
    ]
