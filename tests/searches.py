"""
Vectors in every component that keeps some, and each component's own statement for the nearest of them.

The vectors are of 60 groups of the same size, each with a centre of its own, as embeddings of 60 subjects are: they lie
near each other along few axes, whatever their number of dimensions. What a search asks for lies near a group's centre,
and that group is as often outside the filter as in it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

GROUPS = 60
_AXES = 32

# {rows} and {dimension} are numbers. The axes, then the groups' centres, then the rows and what is asked.
_MADE = """
SELECT setseed(0.42);
CREATE TEMP TABLE axis AS
  SELECT k, (SELECT array_agg(random_normal() + 0 * (k + d)) FROM generate_series(1, {dimension}) AS d)::vector AS way
    FROM generate_series(1, {axes}) AS k;
CREATE TEMP TABLE centre AS
  SELECT g, k, 0.7 * random_normal() AS place FROM generate_series(1, {groups}) AS g, generate_series(1, {axes}) AS k;
CREATE TEMP TABLE made AS
  SELECT n, 1 + n % {groups} AS g,
         (SELECT sum(a.way * array_fill(c.place + random_normal(), ARRAY[{dimension}])::vector)
            FROM axis AS a JOIN centre AS c ON c.k = a.k AND c.g = 1 + n % {groups}) AS embedding
    FROM generate_series(1, {rows} + {groups}) AS n;
"""
_EXACTLY = "SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on"
_INDEXES = """SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
                FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
               WHERE i.indrelid = %s::regclass AND a.amname = 'hnsw'"""
_ASKED = "DELETE FROM made WHERE n > %s RETURNING embedding::text"


@dataclass(frozen=True)
class Store:
    """
    Where a component keeps vectors.

    + fill: takes over what is in the temporary table `made`
    + search: with the parameters groups (names), near (a vector) and limit
    + group: the name of a group, with its number in it
    """

    component: str
    table: str
    fill: str
    search: str
    group: str = "workspace:{}"

    def groups(self, count: int, dice: random.Random) -> list[str]:
        """So many of the names, at random."""
        return [self.group.format(number) for number in dice.sample(range(1, GROUPS + 1), count)]


_NODES = """SELECT id::text FROM knowledge_nodes WHERE embedding IS NOT NULL AND {filter}
             ORDER BY embedding <=> %(near)s::vector LIMIT %(limit)s"""
_FILL_NODES = """
INSERT INTO knowledge.knowledge_nodes (content, node_type, tags, domains, embedding)
SELECT 'node ' || n, 'workspace:' || g, ARRAY['workspace:' || g], ARRAY['workspace:' || g], embedding FROM made"""
STORES = {
    "memory_plugin": Store(
        "memory_plugin",
        "memory_plugin.memory_records",
        """INSERT INTO memory_plugin.memory_namespaces (name, kind)
           SELECT DISTINCT 'workspace:' || g, 'workspace' FROM made;
           INSERT INTO memory_plugin.memory_records (namespace, content, kind, source, embedding)
           SELECT 'workspace:' || g, 'memory ' || n, 'fact', 'agent', embedding FROM made""",
        """SELECT id::text FROM memory_records
            WHERE namespace = ANY(%(groups)s) AND (expires_at IS NULL OR expires_at > now())
              AND embedding IS NOT NULL
            ORDER BY embedding <=> %(near)s::vector LIMIT %(limit)s""",
    ),
    "knowledge": Store(
        "knowledge", "knowledge.knowledge_nodes", _FILL_NODES, _NODES.format(filter="tags && %(groups)s::text[]")
    ),
    "control_plane": Store(
        "control_plane",
        "control_plane.memory_procedure_embedding",
        """INSERT INTO control_plane.memory_procedure (id, slug, title, trigger_text, created_by, steps)
           SELECT DISTINCT md5(g::text)::uuid, 'procedure-' || g, 't', 'w', 'c', '["s"]'::jsonb FROM made;
           INSERT INTO control_plane.memory_procedure_version
             (id, procedure_id, version_no, title, trigger_text, steps, content_hash, change_reason, created_by)
           SELECT md5('version' || n)::uuid, md5(g::text)::uuid, n, 't', 'w', '["s"]', repeat('ab', 32), 'First.', 'c'
             FROM made;
           INSERT INTO control_plane.memory_procedure_embedding
             (procedure_id, procedure_version_id, embedding_model, embedding_model_version, embedding_dim, content_hash,
              embedding)
           SELECT md5(g::text)::uuid, md5('version' || n)::uuid, 'm', '1', vector_dims(embedding), repeat('ab', 32),
                  embedding FROM made""",
        """SELECT procedure_version_id::text FROM memory_procedure_embedding
            WHERE embedding_model = 'm' AND embedding_model_version = '1' AND superseded_at IS NULL
              AND procedure_id IN (SELECT id FROM memory_procedure WHERE slug = ANY(%(groups)s))
            ORDER BY embedding <=> %(near)s::vector LIMIT %(limit)s""",
        "procedure-{}",
    ),
}
# Other filters of the same store.
BY_TYPE = Store(
    "knowledge", "knowledge.knowledge_nodes", _FILL_NODES, _NODES.format(filter="node_type = ANY(%(groups)s)")
)
PARAMETERS = {"embedding_model": "m", "embedding_model_version": "1"}  # of control_plane


def fill(session: psycopg.Connection[Any], stores: Collection[Store], rows: int, dimension: int) -> list[str]:
    """
    Each store gets the same rows, so many. The value is what can be asked: one vector near each group's centre.

    Its index is made anew over all rows: row by row it would take minutes more.

    + session: of the stores' owner, which may make temporary tables, with pgvector in its search_path
    """
    with session.transaction():
        session.execute(_MADE.format(rows=rows, dimension=dimension, axes=_AXES, groups=GROUPS).encode())
        asked = [row[0] for row in session.execute(_ASKED, [rows]).fetchall()]
        session.execute("SET LOCAL maintenance_work_mem = '1GB'; SET LOCAL max_parallel_maintenance_workers = 0")
        for store in stores:
            indexes = session.execute(_INDEXES, [store.table]).fetchall()
            for name, _ in indexes:
                session.execute(f"DROP INDEX {name}".encode())
            session.execute(store.fill.encode())
            for _, definition in indexes:
                session.execute(definition.encode())
        session.execute("DROP TABLE axis, centre, made")
    for store in stores:
        session.execute(f"ANALYZE {store.table}".encode())
    return asked


@dataclass(frozen=True)
class Answer:
    """+ short: rows that are missing; + recall: of the nearest rows, the share that came; + seconds: of the search."""

    short: int
    recall: float
    seconds: float


def answers(
    session: psycopg.Connection[Any], store: Store, asked: list[str], groups: int, limit: int
) -> Iterator[Answer]:
    """One answer for each vector asked, each with other groups in its filter, beside the answer of an exact search."""
    dice = random.Random(groups * 1000 + limit)  # noqa: S311 - a sample, the same in each run
    for near in asked:
        values = {"groups": store.groups(groups, dice), "near": near, "limit": limit}
        began = time.perf_counter()
        found = session.execute(store.search.encode(), values).fetchall()
        seconds = time.perf_counter() - began
        with session.transaction():
            session.execute(_EXACTLY)
            exact = session.execute(store.search.encode(), values, prepare=False).fetchall()
        yield Answer(len(exact) - len(found), len({*found} & {*exact}) / len(exact), seconds)
