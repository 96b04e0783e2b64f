-- 0001 is in order when this returns no row.
--
-- Definitions are compared as the server prints them, less the schema names, which depend on the reader's search_path.

WITH
wanted_table (tab) AS (VALUES ('memory_namespaces'), ('memory_records')),

wanted_column (tab, col, type, nullable, fallback, generated) AS (VALUES
  ('memory_namespaces', 'name',        'text',                     false, NULL,                                         ''),
  ('memory_namespaces', 'kind',        'text',                     false, NULL,                                         ''),
  ('memory_namespaces', 'expires_at',  'timestamp with time zone', true,  NULL,                                         ''),
  ('memory_namespaces', 'metadata',    'jsonb',                    true,  NULL,                                         ''),
  ('memory_namespaces', 'created_at',  'timestamp with time zone', false, 'now()',                                      ''),
  ('memory_records',    'id',          'uuid',                     false, 'gen_random_uuid()',                          ''),
  ('memory_records',    'namespace',   'text',                     false, NULL,                                         ''),
  ('memory_records',    'content',     'text',                     false, NULL,                                         ''),
  ('memory_records',    'kind',        'text',                     false, NULL,                                         ''),
  ('memory_records',    'source',      'text',                     false, NULL,                                         ''),
  ('memory_records',    'expires_at',  'timestamp with time zone', true,  NULL,                                         ''),
  ('memory_records',    'propagation', 'jsonb',                    true,  NULL,                                         ''),
  ('memory_records',    'pin',         'boolean',                  false, 'false',                                      ''),
  ('memory_records',    'embedding',   'vector(768)', true, NULL, ''),
  ('memory_records',    'content_tsv', 'tsvector',                 true,  'to_tsvector(''english''::regconfig, content)', 's'),
  ('memory_records',    'created_at',  'timestamp with time zone', false, 'now()',                                      '')
),

wanted_constraint (tab, con, definition) AS (VALUES
  ('memory_namespaces', 'memory_namespaces_pkey', 'PRIMARY KEY (name)'),
  ('memory_namespaces', 'memory_namespaces_kind_check',
   'CHECK ((kind = ANY (ARRAY[''workspace''::text, ''team''::text, ''org''::text, ''custom''::text])))'),
  ('memory_records', 'memory_records_pkey', 'PRIMARY KEY (id)'),
  ('memory_records', 'memory_records_namespace_fkey',
   'FOREIGN KEY (namespace) REFERENCES memory_namespaces(name) ON DELETE CASCADE'),
  ('memory_records', 'memory_records_kind_check',
   'CHECK ((kind = ANY (ARRAY[''fact''::text, ''summary''::text, ''checkpoint''::text])))'),
  ('memory_records', 'memory_records_source_check',
   'CHECK ((source = ANY (ARRAY[''agent''::text, ''runtime''::text, ''user''::text])))')
),

wanted_index (tab, idx, definition) AS (VALUES
  ('memory_records', 'idx_memory_records_namespace', 'USING btree (namespace)'),
  ('memory_records', 'idx_memory_records_fts',       'USING gin (content_tsv)'),
  ('memory_records', 'idx_memory_records_embedding', 'USING hnsw (embedding vector_cosine_ops) WHERE (embedding IS NOT NULL)'),
  ('memory_records', 'idx_memory_records_expires',   'USING btree (expires_at) WHERE (expires_at IS NOT NULL)')
),

relation AS (
  SELECT c.oid, c.relname, c.relkind, pg_get_userbyid(c.relowner) AS owner
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'memory_plugin'
),

live_table AS (SELECT r.* FROM relation AS r JOIN wanted_table AS w ON w.tab = r.relname AND r.relkind = 'r'),

found (kind, object, problem) AS (

  SELECT 'table', w.tab,
         CASE WHEN r.oid IS NULL THEN 'is missing'
              WHEN r.owner <> 'memory_owner' THEN format('is owned by %s, wanted %s', r.owner, 'memory_owner') END
    FROM wanted_table AS w
    LEFT JOIN live_table AS r ON r.relname = w.tab

  UNION ALL
  SELECT 'column', format('%s.%s', w.tab, w.col),
         CASE WHEN a.attnum IS NULL THEN 'is missing'
              WHEN live.type <> w.type THEN format('has type %s, wanted %s', live.type, w.type)
              WHEN a.attgenerated <> w.generated THEN 'is generated otherwise than wanted'
              WHEN live.fallback IS DISTINCT FROM w.fallback
                THEN format('has default %s, wanted %s', coalesce(live.fallback, 'none'), coalesce(w.fallback, 'none'))
              WHEN a.attnotnull AND w.nullable THEN 'is NOT NULL, wanted nullable'
              WHEN NOT a.attnotnull AND NOT w.nullable THEN 'is nullable, wanted NOT NULL' END
    FROM wanted_column AS w
    JOIN live_table AS r ON r.relname = w.tab
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attname = w.col AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
    CROSS JOIN LATERAL (SELECT replace(format_type(a.atttypid, a.atttypmod), 'public.', '') AS type,
                               pg_get_expr(d.adbin, d.adrelid) AS fallback) AS live

  UNION ALL
  SELECT 'constraint', format('%s.%s', w.tab, w.con),
         CASE WHEN c.oid IS NULL THEN 'is missing'
              WHEN NOT c.convalidated THEN 'is not validated'
              WHEN live.definition <> w.definition THEN format('is %s, wanted %s', live.definition, w.definition) END
    FROM wanted_constraint AS w
    JOIN live_table AS r ON r.relname = w.tab
    LEFT JOIN pg_catalog.pg_constraint AS c ON c.conrelid = r.oid AND c.conname = w.con
    CROSS JOIN LATERAL (SELECT replace(pg_get_constraintdef(c.oid), 'memory_plugin.', '') AS definition) AS live

  UNION ALL
  SELECT 'index', w.idx,
         CASE WHEN i.indexrelid IS NULL THEN 'is missing'
              WHEN NOT (i.indisvalid AND i.indisready) THEN 'is invalid'
              WHEN live.definition <> w.definition THEN format('is %s, wanted %s', live.definition, w.definition) END
    FROM wanted_index AS w
    JOIN live_table AS t ON t.relname = w.tab
    LEFT JOIN relation AS r ON r.relname = w.idx
    LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = r.oid AND i.indrelid = t.oid
    CROSS JOIN LATERAL (
      SELECT regexp_replace(
        replace(pg_get_indexdef(i.indexrelid), 'public.', ''), '^CREATE (UNIQUE )?INDEX \S+ ON \S+ ', '\1')
    ) AS live (definition)
)

SELECT kind, 'memory_plugin.' || object AS object, problem FROM found WHERE problem IS NOT NULL;
