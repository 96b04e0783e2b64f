"""The memory plugin's tables work for the app: every write here is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from secrets import token_hex
from typing import Any

from psycopg import errors

from pgberth.checks.context import Check, CheckContext, Connection, expect_refused, one, rolled_back
from pgberth.migrations.source import DEFAULTS
from pgberth.model.tenant import MEMORY_PLUGIN

_NAMESPACE = f"workspace:pgberth-{token_hex(6)}"  # of this run alone: a row of the tenant's would make the check red
_TEXT = "The harbour master keeps a berth for every ship."

_PUT = """INSERT INTO memory_namespaces (name, kind) VALUES (%s, 'workspace')
          ON CONFLICT (name) DO UPDATE SET kind = excluded.kind"""
_POST = """INSERT INTO memory_records (namespace, content, kind, source, embedding)
           VALUES (%s, %s, 'fact', 'agent', %s::vector) RETURNING id"""
# Among the check's own rows alone: what an index over all rows returns depends on the tenant's data too.
_BY_TEXT = """WITH own AS MATERIALIZED (SELECT id, content_tsv FROM memory_records WHERE namespace = %s)
              SELECT id FROM own WHERE content_tsv @@ plainto_tsquery('english', %s)"""
_BY_COSINE = """WITH own AS MATERIALIZED (SELECT id, embedding FROM memory_records WHERE namespace = %s)
                SELECT id FROM own WHERE embedding IS NOT NULL ORDER BY embedding <=> %s::vector LIMIT 1"""
_NEAREST = "EXPLAIN SELECT id FROM memory_records WHERE embedding IS NOT NULL ORDER BY embedding <=> %s::vector LIMIT 5"


def _size(context: CheckContext) -> int:
    """Dimensions of the tenant's embeddings, by its inventory line or the component's default."""
    given = {**DEFAULTS[MEMORY_PLUGIN], **context.tenant.parameters.get(MEMORY_PLUGIN, {})}
    return int(given["dimension"])


def _vector(peak: int, size: int) -> str:
    return "[" + ",".join("1" if place == peak else "0" for place in range(size)) + "]"


def _round_trip(context: CheckContext) -> Iterator[str]:
    size = _size(context)
    with rolled_back(context.app(MEMORY_PLUGIN)) as cursor:
        cursor.execute(_PUT, [_NAMESPACE])
        desired = one(cursor, _POST, [_NAMESPACE, _TEXT, _vector(0, size)])
        # Without an embedding where there is only one direction.
        one(cursor, _POST, [_NAMESPACE, "Something else altogether.", _vector(1, size) if size > 1 else None])
        if one(cursor, _BY_TEXT, [_NAMESPACE, "ships berths"]) != desired:
            yield "a memory just written is not found by its text"
        if one(cursor, _BY_COSINE, [_NAMESPACE, _vector(0, size)]) != desired:
            yield "a memory just written is not the nearest to its own embedding"


def _index_used(context: CheckContext) -> Iterator[str]:
    with rolled_back(context.app(MEMORY_PLUGIN)) as cursor:
        # On a small table a scan is rightly cheaper. The question is whether the index can serve the query at all.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        plan = cursor.execute(_NEAREST, [_vector(0, _size(context))]).fetchall()
        if not any("idx_memory_records_embedding" in line for (line,) in plan):
            yield "idx_memory_records_embedding does not serve a search by cosine distance"


def _metadata(context: CheckContext) -> Iterator[str]:
    """Absent, JSON null and {} are three different things; a writer once failed on the second alone."""
    cases: tuple[tuple[str, Any, str | None], ...] = (
        ("absent", None, None),
        ("null", "null", "null"),
        ("{}", "{}", "object"),
    )
    with rolled_back(context.app(MEMORY_PLUGIN)) as cursor:
        for name, value, desired in cases:
            cursor.execute(
                "INSERT INTO memory_namespaces (name, kind, metadata) VALUES (%s, 'custom', %s::jsonb)",
                [f"{_NAMESPACE}-{name}", value],
            )
            query = "SELECT jsonb_typeof(metadata) FROM memory_namespaces WHERE name = %s"
            found = one(cursor, query, [f"{_NAMESPACE}-{name}"])
            if found != desired:
                yield f"metadata {name} came back as {found}"


def _unknown_namespace(context: CheckContext) -> Iterator[str]:
    connection, unknown = context.app(MEMORY_PLUGIN), f"{_NAMESPACE}-never-seen"
    yield from expect_refused(
        partial(_write, connection, [unknown, _TEXT, None]),
        lambda error: isinstance(error, errors.ForeignKeyViolation),
        "a namespace never seen",
        "a namespace never seen was accepted",
    )
    with rolled_back(connection) as cursor:
        cursor.execute(_PUT, [unknown])
        if one(cursor, _POST, [unknown, _TEXT, None]) is None:
            yield "a namespace made in the same transaction takes no memory"


def _dimension(context: CheckContext) -> Iterator[str]:
    connection, other = context.app(MEMORY_PLUGIN), 3 if _size(context) != 3 else 4
    what = f"an embedding of {other} dimensions"
    return expect_refused(
        partial(_write, connection, [_NAMESPACE, _TEXT, _vector(0, other)], namespace=_NAMESPACE),
        lambda error: isinstance(error, errors.DataException),
        what,
        f"{what} was accepted",
    )


def _write(connection: Connection, parameters: list[str | None], namespace: str = "") -> None:
    """One memory, rolled back. + namespace: made first. Raises psycopg.Error."""
    with rolled_back(connection) as cursor:
        if namespace:
            cursor.execute(_PUT, [namespace])
        cursor.execute(_POST, parameters)


CHECKS = (
    Check("memory-round-trip", "a memory written is found by text and by cosine", _round_trip, MEMORY_PLUGIN),
    Check("memory-index", "the vector index serves cosine search", _index_used, MEMORY_PLUGIN),
    Check("memory-metadata", "metadata absent, null and {} are kept apart", _metadata, MEMORY_PLUGIN),
    Check(
        "memory-namespace",
        "a new namespace: refused whole, usable once made",
        _unknown_namespace,
        MEMORY_PLUGIN,
    ),
    Check("memory-dimension", "an embedding of another dimension: refused", _dimension, MEMORY_PLUGIN),
)
