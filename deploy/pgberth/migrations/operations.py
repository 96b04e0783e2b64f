"""Verbs: a tenant's schemas are at the versions its inventory names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, operation

from pgberth import commands
from pgberth.container.context import TenantContext
from pgberth.database.probe import Server, probe_sql
from pgberth.database.problems import named, run_reporting_problems
from pgberth.database.session import connect, reached
from pgberth.inventory.load import did_you_mean
from pgberth.migrations import ledger, repair, runner, source
from pgberth.migrations.plan import Plan, plan_up
from pgberth.migrations.session import Connect, RetryPolicy, shared
from pgberth.migrations.verify import REPAIRABLE, Finding, verify_sql
from pgberth.model.problems import Problem, Refused
from pgberth.model.roles import MIGRATOR
from pgberth.model.tenant import HEAD, Tenant
from pgberth.report.receipt import Receipt, current_report
from pgberth.secrets.external import ExternalPasswords


@operation()
def at_targets(context: TenantContext) -> Any:
    """
    Each component is at its target version, and nothing that can be made again is missing from it.

    Applied history that differs from the files stops the tenant before anything is done.
    """
    state = context.observe()
    if state is None or state.machine_profile is None or state.container is None:
        return
    tenant = context.tenant
    server = Server.of(state)
    if server is None:
        fact = f"{tenant.name}: the server does not answer: {state.server_said}"
        yield commands.refuse(Problem(fact, "runbooks/server-does-not-start.md"))
        return
    try:
        plans = [plan(tenant, component, server) for component in tenant.ordered_components]
    except Refused:
        # Said again by the runner, which has the ledger's bodies at hand and shows the difference; it changes nothing.
        yield FunctionCommand(as_migrator, (context, _refused_in_full(tenant)), {})
        return
    behind = [ready.component for ready in plans if ready.steps]
    broken = [
        ready.component
        for ready in plans
        if not ready.steps and any(finding.kind in REPAIRABLE for finding in findings(server, ready))
    ]
    if not behind and not broken:
        return

    def work(connect: Connect) -> None:
        # One session for all of them: a new one has to read the catalogue anew.
        with shared(connect) as session:
            for component in behind:
                given = tenant.parameters.get(component)
                runner.apply(session, component, given, to=target(tenant, component))
            for component in broken:
                _repair(session, tenant, component)

    yield FunctionCommand(as_migrator, (context, work), {})


def plan(tenant: Tenant, component: str, server: Server) -> Plan:
    """
    What the tenant's component still needs, from one look at its server.

    Raises Refused, each problem naming the tenant.
    """
    try:
        return plan_up(
            component,
            ledger.heads_of(server.ledger),
            tenant.parameters.get(component),
            to=target(tenant, component),
        )
    except Refused as refused:
        raise Refused(named(tenant, refused.problems)) from refused


def findings(server: Server, ready: Plan) -> list[Finding]:
    """What the server's one look found wrong with the versions that are applied."""
    applied = {(migration.component, migration.version) for migration in ready.applied}
    rows = [Finding(**row) for row in server.findings]
    return [found for found in rows if (found.component, found.version) in applied]


def tenant_probe(tenant: Tenant) -> str:
    """The probe of this tenant, with the ledger and the verify files of its components in it."""
    return probe_sql(tenant, ledger.HEADS_SQL, _findings_sql(tenant))


def _findings_sql(tenant: Tenant) -> str:
    # What a step of code records is not known before the ledger is read. It opens gates and is in no verify file, so
    # that any value will do here; what is not applied is left out of the findings afterwards.
    recorded: dict[str, str | int] = dict.fromkeys(source.FROM_CODE, "recorded")
    loaded = [
        source.load(component, {**recorded, **tenant.parameters.get(component, {})})
        for component in tenant.ordered_components
    ]
    # A migration whose gate is closed all the same has no rendered text.
    return verify_sql(step for component in loaded for step in component if not step.missing)


def parameter_problems(tenant: Tenant) -> Iterable[Problem]:
    """What is wrong with the tenant's parameters, found by rendering every migration of its components."""
    for component in tenant.ordered_components:
        given = tenant.parameters.get(component, {})
        try:
            source.load(component, given)
        except Refused as refused:
            yield from named(tenant, refused.problems)
            continue
        known = source.parameters(component)
        for name in set(given) - known:
            fact = f"{tenant.name}: parameters: {component} has no {name!r}{did_you_mean(name, known)}"
            yield Problem(fact, f"it has {', '.join(sorted(known)) or 'none'}")
    for component in set(tenant.parameters) - set(tenant.components):
        yield Problem(f"{tenant.name}: parameters for {component!r}, which is not among its components")


def target(tenant: Tenant, component: str) -> int | str | None:
    """The version the inventory names; None for the newest."""
    desired = tenant.components[component]
    return None if desired == HEAD else desired


def as_migrator(state: Any, host: Any, context: TenantContext, work: Callable[[Connect], None]) -> bool:  # noqa: ARG001
    """Do work with sessions of the migrator's; a refusal becomes the tenant's failure, in our own words."""
    password, port = context.secret("migrator"), context.port  # of the look that the work was planned by
    context.invalidate_server()

    def act() -> None:
        with reached(port) as address:
            work(lambda: connect(address, MIGRATOR, password))

    done = run_reporting_problems(host, context.tenant, act)
    context.invalidate_server()
    return done


def _refused_in_full(tenant: Tenant) -> Callable[[Connect], None]:
    def work(connect: Connect) -> None:
        problems: list[Problem] = []
        with shared(connect) as session:
            for component in tenant.ordered_components:
                try:
                    with runner.running(session, component, RetryPolicy()) as connection:
                        heads = ledger.heads(connection, component)
                    plan_up(component, heads, tenant.parameters.get(component), to=target(tenant, component))
                except Refused as refused:
                    problems += refused.problems
        raise Refused(problems or [Problem("what was refused a moment ago holds now", "run the deploy again")])

    return work


def _repair(connect: Connect, tenant: Tenant, component: str) -> None:
    done = repair.repair(connect, component, tenant.parameters.get(component))
    for fixed in done.fixed:
        logger.info(f"{host.print_prefix}repaired: {fixed}")
    for obstacle in done.obstacles:
        logger.warning(f"{host.print_prefix}not repaired: {obstacle}")


def begin(verb: str, tenant: Tenant, given: ExternalPasswords | None = None) -> tuple[TenantContext, Receipt]:
    """The tenant for the length of a run, and the record of it. + given: passwords that come from elsewhere"""
    receipt = current_report().receipts.setdefault(tenant.name, Receipt(verb, tenant.name, tenant.rings, tenant.port))
    return TenantContext(tenant, tenant_probe(tenant), given), receipt


def waiting(tenant: Tenant, server: Server) -> list[str]:
    """Versions that wait for something an operator has to say; no error where the tenant does not ask for it."""
    try:
        plans = [plan(tenant, component, server) for component in tenant.ordered_components]
    except Refused:
        return []  # the ledger's check says it
    # What only waits for another version is not the operator's to answer.
    lefts = [left for ready in plans for left in ready.waiting]
    return [str(left) for left in lefts if not all(name.isdigit() for name in left.missing)]
