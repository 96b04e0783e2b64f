"""Append-only tables accept rows from the app and never lose one; every write here is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from psycopg import errors

from pgberth.checks.context import (
    Check,
    CheckContext,
    Connection,
    expect_refused,
    one,
    rolled_back,
    rolled_back_statement,
)

_RUN = """INSERT INTO task_run (task_key, cousin, objective)
          VALUES ('pgberth-' || gen_random_uuid(), 'smoke', 'prove that history holds') RETURNING id"""
_CHECKPOINT = """INSERT INTO task_checkpoint (task_run_id, checkpoint_kind, sequence_no, summary, created_by)
                 VALUES (%s, 'task_start', %s, %s, 'smoke') RETURNING id"""
_NODE = """INSERT INTO knowledge_nodes (content, tags)
           VALUES ('The harbour master keeps the ledger.', '{quay}') RETURNING id"""
_FOUND = "SELECT id FROM knowledge_nodes WHERE search_vec @@ plainto_tsquery('english', %s) AND id = %s"


def _checkpoints(context: CheckContext) -> Iterator[str]:
    connection = context.app("control_plane")
    with rolled_back(connection) as cursor:
        run = one(cursor, _RUN)
        if one(cursor, _CHECKPOINT, [run, 1, "under way"]) is None:
            yield "a checkpoint was not written"
    yield from _closed(connection, "task_checkpoint", "summary = ''")
    yield from _closed(connection, "memory_procedure_version", "title = ''")
    yield from _closed(connection, "memory_procedure_event", "actor = ''")


def _nodes(context: CheckContext) -> Iterator[str]:
    connection = context.app("knowledge")
    with rolled_back(connection) as cursor:
        node = one(cursor, _NODE)
        for words in ("harbour ledgers", "quay"):
            if one(cursor, _FOUND, [words, node]) != node:
                yield f"a node just written is not found by {words!r}"
    yield from _closed(connection, "review_events", "rating = 1")


def _closed(connection: Connection, table: str, assignment: str) -> Iterator[str]:
    for verb, statement in (
        ("UPDATE", f"UPDATE {table} SET {assignment}"),  # noqa: S608 - both are ours
        ("DELETE", f"DELETE FROM {table}"),  # noqa: S608
        ("TRUNCATE", f"TRUNCATE {table}"),
    ):
        yield from expect_refused(
            partial(rolled_back_statement, connection, statement),
            lambda error: isinstance(error, errors.InsufficientPrivilege),
            f"{verb} of {table}",
            f"{verb} of {table} went through as the app",
        )


CHECKS = (
    Check("task-history", "checkpoints are written, and never changed or removed", _checkpoints, "control_plane"),
    Check("knowledge-history", "nodes are found by their words, and reviews never change", _nodes, "knowledge"),
)
