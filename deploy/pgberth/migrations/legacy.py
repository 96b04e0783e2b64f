"""
Bring over what an older installation left: the plugin's tables in public, a misplaced pgvector, agent_memories.

Rows are copied in one transaction and compared there as multisets, row times included. If they differ, nothing stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from pgberth.migrations.session import Connect, become_owner, opened
from pgberth.model.problems import Refused
from pgberth.model.tenant import MEMORY_PLUGIN
from pgberth.rendering.sql import read_sql, render

TABLES = ("memory_namespaces", "memory_records")  # in the order of their foreign key
ASIDE = "pgberth_move"  # the schema that holds them between public and memory_plugin; it also shows a killed move
_COLUMNS = {
    "memory_namespaces": ("name", "kind", "expires_at", "metadata", "created_at"),
    "memory_records": (
        *("id", "namespace", "content", "kind", "source", "expires_at", "propagation", "pin"),
        *("embedding", "created_at"),
    ),
}


def aside_script(*, begun: bool) -> str:
    """
    For psql as the superuser: move pgvector into public, and the tables of the memory plugin out of it.

    + begun: whether the ledger has an applied version of memory_plugin; then its schema belongs to the migrations
    """
    return render("migrations/move-aside.sql.j2", {"aside": ASIDE, "begun": begun})


def bring_over(connect: Connect) -> dict[str, int]:
    """
    Move all rows of the schema ASIDE into memory_plugin, and drop that schema. Returns table -> rows.

    A row that memory_plugin already has is accepted if it is equal. Raises Refused, with no change, if one differs.
    """
    with opened(connect, "pgberth move") as session, session.transaction():
        become_owner(session)
        waiting = [table for table in TABLES if _has_table(session, ASIDE, table)]
        moved = {table: _copy(session, table) for table in waiting}
        for table in reversed(waiting):
            session.execute(sql.SQL("DROP TABLE {} RESTRICT").format(sql.Identifier(ASIDE, table)))
        session.execute(sql.SQL("DROP SCHEMA IF EXISTS {} RESTRICT").format(sql.Identifier(ASIDE)))
        return moved


def _has_table(session: psycopg.Connection[Any], schema: str, table: str) -> bool:
    found = session.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{schema}.{table}"]).fetchone()
    return bool(found and found[0])


def _copy(session: psycopg.Connection[Any], table: str) -> int:
    source, target = sql.Identifier(ASIDE, table), sql.Identifier(MEMORY_PLUGIN, table)
    query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
    there = {name for (name,) in session.execute(query, [f"{ASIDE}.{table}"])}
    names = sql.SQL(", ").join(sql.Identifier(name) for name in _COLUMNS[table] if name in there)
    parts = {"source": source, "target": target, "names": names}
    session.execute(sql.SQL("LOCK TABLE {source} IN SHARE MODE").format(**parts))
    insert = "INSERT INTO {target} ({names}) SELECT {names} FROM {source} ON CONFLICT DO NOTHING"
    session.execute(sql.SQL(insert).format(**parts))
    missing = "SELECT count(*) FROM (SELECT {names} FROM {source} EXCEPT ALL SELECT {names} FROM {target}) AS missing"
    if left := _number(session, sql.SQL(missing).format(**parts)):
        fact = f"memory_plugin.{table} has {left} rows that differ from those of the same key in public.{table}"
        raise Refused.because(
            fact, f"nothing was changed; they are in {ASIDE}.{table}: runbooks/move-into-the-schema.md"
        )
    return _number(session, sql.SQL("SELECT count(*) FROM {source}").format(**parts))


def _number(session: psycopg.Connection[Any], query: sql.SQL | sql.Composed, values: Any = None) -> int:
    found = session.execute(query, values).fetchone()
    return int(found[0]) if found else 0


_COMPARED = "id, namespace, content, embedding, created_at, propagation"


def backfill(connect: Connect, schema: str, mode: str) -> Mapping[str, int]:
    """
    Copy agent_memories of that schema into memory_plugin. Returns the counts "rows", "written" and "missing".

    + mode: "dry-run" rolls everything back, "apply" keeps it, "verify" only compares

    A row whose id memory_plugin already has stays as it is. Rows are compared as multisets, row times and embeddings
    included. Raises Refused if there is no such table, or if a row's scope is none of LOCAL, TEAM and GLOBAL.
    """
    source = sql.Identifier(schema, "agent_memories")
    desired = sql.SQL(read_sql("migrations/agent-memories.sql")).format(source=source)
    with opened(connect, "pgberth backfill") as session, session.transaction() as transaction:
        become_owner(session)
        if not _has_table(session, schema, "agent_memories"):
            raise Refused.because(
                f"there is no table {schema}.agent_memories", "name its schema with --data schema=NAME"
            )
        rows = _number(session, sql.SQL("SELECT count(*) FROM {}").format(source))
        known = _number(session, sql.SQL("SELECT count(*) FROM ({}) AS desired").format(desired))
        if rows != known:
            fact = f"{rows - known} rows of {schema}.agent_memories have a scope that is none of LOCAL, TEAM, GLOBAL"
            raise Refused.because(
                fact,
                "nothing was changed; set the scope of these rows to LOCAL, TEAM or GLOBAL, then run backfill again",
            )
        written = 0 if mode == "verify" else _insert(session, desired)
        missing = f"SELECT count(*) FROM (SELECT {_COMPARED} FROM ({{}}) AS desired EXCEPT ALL SELECT {_COMPARED}"  # noqa: S608
        missing += " FROM memory_plugin.memory_records) AS missing"
        left = _number(session, sql.SQL(missing).format(desired))
        if mode == "dry-run" or (mode == "apply" and left):
            raise psycopg.Rollback(transaction)  # leaves the block
    return {"rows": rows, "written": written, "missing": left}


def _insert(session: psycopg.Connection[Any], desired: sql.Composed) -> int:
    namespaces = (
        "INSERT INTO memory_plugin.memory_namespaces (name, kind)"
        " SELECT DISTINCT namespace, reach FROM ({}) AS desired ON CONFLICT DO NOTHING"
    )
    session.execute(sql.SQL(namespaces).format(desired))
    records = (
        f"INSERT INTO memory_plugin.memory_records ({_COMPARED}, kind, source)"  # noqa: S608
        f" SELECT {_COMPARED}, 'fact', 'agent' FROM ({{}}) AS desired ON CONFLICT (id) DO NOTHING"
    )
    return session.execute(sql.SQL(records).format(desired)).rowcount
