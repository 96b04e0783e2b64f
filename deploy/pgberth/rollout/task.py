"""A real task, as a client does it: commit a memory, check where it lies, find it, remove it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from secrets import token_hex

import psycopg

from pgberth.container.context import TenantContext
from pgberth.database.session import connect, reached
from pgberth.model.tenant import MEMORY_PLUGIN
from pgberth.model.url import search_path

_TEXT = "The canary berth holds the ferry's manifest."
_PUT = "INSERT INTO memory_namespaces (name, kind) VALUES (%s, 'workspace')"
_POST = "INSERT INTO memory_records (namespace, content, kind, source) VALUES (%s, %s, 'fact', 'agent') RETURNING id"
_SEARCH = """SELECT id FROM memory_records WHERE namespace = %s AND content_tsv @@ plainto_tsquery('english', %s)"""


def task(context: TenantContext) -> Iterator[str]:
    """
    What failed in one task over TCP with the component's own search_path; nothing where it succeeded.

    It commits, unlike the suite's checks, and removes its namespace afterwards, which removes the record too.
    """
    name, login = f"workspace:pgberth-task-{token_hex(6)}", context.login
    options = f"-csearch_path={','.join(search_path(MEMORY_PLUGIN))} -cstatement_timeout=10s"
    try:
        with (
            reached(context.port) as address,
            closing(connect(address, login, context.secret("app"), options=options)) as client,
            closing(connect(address, login, context.secret("app"), options=options)) as reader,
        ):
            try:
                yield from _run(client, reader, name)
            finally:
                client.execute("DELETE FROM memory_plugin.memory_namespaces WHERE name = %s", [name])
            query = b"SELECT FROM memory_plugin.memory_records WHERE namespace = %s"
            if reader.execute(query, [name]).fetchone() is not None:
                yield "the task's memory is still there after its namespace went"
    except psycopg.Error as error:
        yield f"the task could not be done: {error.diag.message_primary or error}".strip()


def _run(client: psycopg.Connection, reader: psycopg.Connection, name: str) -> Iterator[str]:
    client.execute(_PUT, [name])
    row = client.execute(_POST, [name, _TEXT]).fetchone()
    desired = row[0] if row is not None else None
    # Another session: what it sees is committed.
    lies = reader.execute("SELECT id FROM memory_plugin.memory_records WHERE namespace = %s", [name]).fetchall()
    if lies != [(desired,)]:
        yield "the memory is not in memory_plugin.memory_records"
    if reader.execute(_SEARCH, [name, "ferry manifests"]).fetchall() != [(desired,)]:
        yield "search does not find the memory"
    found = reader.execute("SELECT to_regclass('public.memory_records') IS NULL").fetchone()
    if found != (True,):
        yield "public has a table memory_records"
