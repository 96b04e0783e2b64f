"""The schemas are what the migrations made, and the ledger agrees."""

from __future__ import annotations

from collections.abc import Iterator

from pgberth.checks.context import Check, CheckContext
from pgberth.migrations.drift import compared_schemas, differences, snapshot
from pgberth.migrations.operations import findings, plan
from pgberth.model.diagnosis import explained
from pgberth.model.image import dotted, version_of
from pgberth.model.problems import Refused


def _extension(context: CheckContext) -> Iterator[str]:
    server = context.server
    yield from (str(finding) for finding in server.access if finding.kind == "extension")
    if server.vector != server.vector_available:
        act = "ALTER EXTENSION vector UPDATE"
        yield f"vector is at {server.vector}, the image carries {server.vector_available}: {act}"
    if version_of(server.vector) < context.tenant.pgvector_floor:
        yield f"vector is at {server.vector}, the floor is {dotted(context.tenant.pgvector_floor)}"


def _public(context: CheckContext) -> Iterator[str]:
    yield from (str(finding) for finding in context.server.access if finding.kind == "unexpected object")


def _ledger(context: CheckContext) -> Iterator[str]:
    for component in context.tenant.ordered_components:
        try:
            planned = plan(context.tenant, component, context.server)
        except Refused as refused:
            yield from (problem.fact.removeprefix(f"{context.tenant.name}: ") for problem in refused.problems)
            continue
        for step in planned.steps:
            yield f"{step.title} is not applied"


def _objects(context: CheckContext) -> Iterator[str]:
    if context.server.unread:
        yield f"could not be asked: {explained(context.server.unread, activity=context.state.activity)}"
    for component in context.tenant.ordered_components:
        try:
            planned = plan(context.tenant, component, context.server)
        except Refused:
            continue  # the ledger's own check reports it
        yield from (str(finding) for finding in findings(context.server, planned))


def _drift(context: CheckContext) -> Iterator[str]:
    if context.baseline is None:
        yield f"there is no fresh run's catalogue to compare with: {context.no_baseline}"
        return
    live = snapshot(context.app(), compared_schemas(context.tenant))
    yield from (str(difference) for difference in differences(context.baseline, live))


CHECKS = (
    Check("extension", "pgvector is in public, owned by postgres, at the image's version", _extension, observed=True),
    Check("public-clean", "public holds pgvector and nothing else", _public, observed=True),
    Check("ledger", "what is applied equals the files, each at its target", _ledger, observed=True),
    Check(
        "schema",
        "every table, column, constraint, index, trigger and grant is as its migration left it",
        _objects,
        observed=True,
    ),
    Check("drift", "the catalogue equals that of a fresh run of the same versions", _drift, needs_baseline=True),
)
