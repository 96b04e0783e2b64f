-- 0002 is in order when this returns no row.
--
-- Definitions are compared as the server prints them, less schema names, which depend on the reader's search_path.

WITH
wanted_column (col, type, nullable, fallback) AS (VALUES
  ('procedure_id',            'uuid',                     false, NULL),
  ('procedure_version_id',    'uuid',                     false, NULL),
  ('embedding_model',         'text',                     false, NULL),
  ('embedding_model_version', 'text',                     false, NULL),
  ('embedding_dim',           'integer',                  false, NULL),
  ('content_hash',            'text',                     false, NULL),
  ('embedding',               'vector(1024)', false, NULL),
  ('created_at',              'timestamp with time zone', false, 'now()'),
  ('superseded_at',           'timestamp with time zone', true,  NULL)
),

wanted_constraint (con, definition) AS (VALUES
  ('memory_procedure_embedding_pkey', 'PRIMARY KEY (procedure_version_id, embedding_model, embedding_model_version)'),
  ('memory_procedure_embedding_procedure_id_fkey',
   'FOREIGN KEY (procedure_id) REFERENCES memory_procedure(id) ON UPDATE RESTRICT ON DELETE RESTRICT'),
  ('memory_procedure_embedding_procedure_version_id_fkey',
   'FOREIGN KEY (procedure_version_id) REFERENCES memory_procedure_version(id) ON UPDATE RESTRICT ON DELETE RESTRICT'),
  ('memory_procedure_embedding_content_hash_is_sha256', 'CHECK ((content_hash ~ ''^[0-9a-f]{64}$''::text))'),
  ('memory_procedure_embedding_dim_is_true', 'CHECK ((embedding_dim = vector_dims(embedding)))')
),

wanted_index (idx, definition) AS (VALUES
  ('idx_memory_procedure_embedding_hnsw',
   format('USING hnsw (embedding vector_cosine_ops) WHERE ((embedding_model = %L::text) AND (embedding_model_version = %L::text))',
          'an ''embedder''', '2026-01'))
),

relation AS (
  SELECT c.oid, c.relname, c.relkind, pg_get_userbyid(c.relowner) AS owner
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'control_plane'
),

live_table AS (SELECT r.* FROM relation AS r WHERE r.relname = 'memory_procedure_embedding' AND r.relkind = 'r'),

found (kind, object, problem) AS (

  SELECT 'table', w.tab,
         CASE WHEN r.oid IS NULL THEN 'is missing'
              WHEN r.owner <> 'memory_owner' THEN format('is owned by %s, wanted %s', r.owner, 'memory_owner') END
    FROM (VALUES ('memory_procedure_embedding')) AS w (tab)
    LEFT JOIN live_table AS r ON r.relname = w.tab

  UNION ALL
  SELECT 'column', format('%s.%s', r.relname, w.col),
         CASE WHEN a.attnum IS NULL THEN 'is missing'
              WHEN live.type <> w.type THEN format('has type %s, wanted %s', live.type, w.type)
              WHEN a.attgenerated <> '' THEN 'is generated, wanted plain'
              WHEN live.fallback IS DISTINCT FROM w.fallback
                THEN format('has default %s, wanted %s', coalesce(live.fallback, 'none'), coalesce(w.fallback, 'none'))
              WHEN a.attnotnull AND w.nullable THEN 'is NOT NULL, wanted nullable'
              WHEN NOT a.attnotnull AND NOT w.nullable THEN 'is nullable, wanted NOT NULL' END
    FROM wanted_column AS w
   CROSS JOIN live_table AS r
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attname = w.col AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
   CROSS JOIN LATERAL (SELECT replace(format_type(a.atttypid, a.atttypmod), 'public.', '') AS type,
                              pg_get_expr(d.adbin, d.adrelid) AS fallback) AS live

  UNION ALL
  SELECT 'constraint', format('%s.%s', r.relname, w.con),
         CASE WHEN c.oid IS NULL THEN 'is missing'
              WHEN NOT c.convalidated THEN 'is not validated'
              WHEN live.definition <> w.definition THEN format('is %s, wanted %s', live.definition, w.definition) END
    FROM wanted_constraint AS w
   CROSS JOIN live_table AS r
    LEFT JOIN pg_catalog.pg_constraint AS c ON c.conrelid = r.oid AND c.conname = w.con
   CROSS JOIN LATERAL (
      SELECT replace(replace(pg_get_constraintdef(c.oid), 'control_plane.', ''), 'public.', '')
    ) AS live (definition)

  UNION ALL
  SELECT 'index', w.idx,
         CASE WHEN i.indexrelid IS NULL THEN 'is missing'
              WHEN NOT (i.indisvalid AND i.indisready) THEN 'is invalid'
              WHEN live.definition <> w.definition THEN format('is %s, wanted %s', live.definition, w.definition) END
    FROM wanted_index AS w
   CROSS JOIN live_table AS t
    LEFT JOIN relation AS r ON r.relname = w.idx
    LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = r.oid AND i.indrelid = t.oid
   CROSS JOIN LATERAL (
      SELECT regexp_replace(
        replace(pg_get_indexdef(i.indexrelid), 'public.', ''), '^CREATE (UNIQUE )?INDEX \S+ ON \S+ ', '\1')
    ) AS live (definition)
)

SELECT kind, 'control_plane.' || object AS object, problem FROM found WHERE problem IS NOT NULL;
