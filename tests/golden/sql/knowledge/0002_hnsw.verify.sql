-- 0002 is in order when this returns no row.

WITH
wanted (idx, definition) AS (VALUES
  ('idx_knowledge_nodes_embedding_hnsw', 'USING hnsw (embedding vector_cosine_ops) WITH (m=''16'', ef_construction=''64'')')
),

found (kind, object, problem) AS (
  SELECT 'index', w.idx,
         CASE WHEN i.indexrelid IS NULL THEN 'is missing'
              WHEN NOT (i.indisvalid AND i.indisready) THEN 'is invalid'
              WHEN live.definition <> w.definition THEN format('is %s, wanted %s', live.definition, w.definition) END
    FROM wanted AS w
    LEFT JOIN (
      SELECT i.*, c.relname
        FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid AND t.relname = 'knowledge_nodes'
        JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace AND n.nspname = 'knowledge'
    ) AS i ON i.relname = w.idx
   CROSS JOIN LATERAL (
      SELECT regexp_replace(
        replace(pg_get_indexdef(i.indexrelid), 'public.', ''), '^CREATE (UNIQUE )?INDEX \S+ ON \S+ ', '\1')
    ) AS live (definition)

  UNION ALL
  SELECT 'column', 'knowledge_nodes.embedding', 'has no dimension'
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS t ON t.oid = a.attrelid AND t.relname = 'knowledge_nodes'
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace AND n.nspname = 'knowledge'
   WHERE a.attname = 'embedding' AND NOT a.attisdropped AND a.atttypmod < 1
)

SELECT kind, 'knowledge.' || object AS object, problem FROM found WHERE problem IS NOT NULL;
