-- 0001 is in order when this returns no row.
--
-- Definitions are compared as the server prints them, less line breaks and schema names, which depend on the reader's search_path.
-- The bodies of the functions are the business of R0.

WITH
wanted_function (signature) AS (VALUES
  ('tags_text(text[])'), ('holds_secret(text)')
),

wanted_table (tab) AS (VALUES
  ('embedding_model'), ('domains'), ('users'), ('groups'), ('group_memberships'), ('knowledge_nodes'), ('scheduling'), ('edges'),
  ('review_events')
),

wanted_column (tab, col, type, nullable, fallback) AS (VALUES
  ('embedding_model',   'id',                 'smallint',                 false, '1'),
  ('embedding_model',   'name',               'text',                     false, NULL),
  ('embedding_model',   'dimension',          'integer',                  false, NULL),
  ('embedding_model',   'hash',               'text',                     false, NULL),
  ('embedding_model',   'created_at',         'timestamp with time zone', false, 'now()'),
  ('domains',           'id',                 'text',                     false, NULL),
  ('domains',           'label',              'text',                     false, NULL),
  ('domains',           'centroid',           'vector',                   true,  NULL),
  ('domains',           'top_terms',          'text[]',                   false, '''{}''::text[]'),
  ('domains',           'memory_count',       'integer',                  false, '0'),
  ('domains',           'created_at',         'timestamp with time zone', false, 'now()'),
  ('domains',           'metadata',           'jsonb',                    false, '''{}''::jsonb'),
  ('users',             'id',                 'uuid',                     false, 'gen_random_uuid()'),
  ('users',             'handle',             'text',                     false, NULL),
  ('users',             'display_name',       'text',                     true,  NULL),
  ('users',             'created_at',         'timestamp with time zone', false, 'now()'),
  ('users',             'metadata',           'jsonb',                    false, '''{}''::jsonb'),
  ('groups',            'id',                 'uuid',                     false, 'gen_random_uuid()'),
  ('groups',            'handle',             'text',                     false, NULL),
  ('groups',            'display_name',       'text',                     true,  NULL),
  ('groups',            'created_at',         'timestamp with time zone', false, 'now()'),
  ('groups',            'metadata',           'jsonb',                    false, '''{}''::jsonb'),
  ('group_memberships', 'user_id',            'uuid',                     false, NULL),
  ('group_memberships', 'group_id',           'uuid',                     false, NULL),
  ('group_memberships', 'role',               'text',                     false, '''member''::text'),
  ('group_memberships', 'joined_at',          'timestamp with time zone', false, 'now()'),
  ('knowledge_nodes',   'id',                 'uuid',                     false, 'gen_random_uuid()'),
  ('knowledge_nodes',   'content',            'text',                     false, NULL),
  ('knowledge_nodes',   'node_type',          'text',                     false, '''general''::text'),
  ('knowledge_nodes',   'tags',               'text[]',                   false, '''{}''::text[]'),
  ('knowledge_nodes',   'metadata',           'jsonb',                    false, '''{}''::jsonb'),
  ('knowledge_nodes',   'domains',            'text[]',                   false, '''{}''::text[]'),
  ('knowledge_nodes',   'domain_scores',      'jsonb',                    false, '''{}''::jsonb'),
  ('knowledge_nodes',   'embedding',          'vector',                   true,  NULL),
  ('knowledge_nodes',   'codebase',           'text',                     true,  NULL),
  ('knowledge_nodes',   'owner_user_id',      'uuid',                     false, '''00000000-0000-0000-0000-000000000001''::uuid'),
  ('knowledge_nodes',   'visibility',         'text',                     false, '''private''::text'),
  ('knowledge_nodes',   'shared_with_groups', 'uuid[]',                   false, '''{}''::uuid[]'),
  ('knowledge_nodes',   'created_at',         'timestamp with time zone', false, 'now()'),
  ('knowledge_nodes',   'updated_at',         'timestamp with time zone', false, 'now()'),
  ('knowledge_nodes', 'search_vec', 'tsvector', true,
   '((setweight(to_tsvector(''english''::regconfig, content), ''A''::"char") || '
   'setweight(to_tsvector(''english''::regconfig, node_type), ''B''::"char")) || '
   'setweight(to_tsvector(''english''::regconfig, tags_text(tags)), ''C''::"char"))'),
  ('scheduling',        'memory_id',          'uuid',                     false, NULL),
  ('scheduling',        'stability',          'double precision',         false, '0.0'),
  ('scheduling',        'difficulty',         'double precision',         false, '0.0'),
  ('scheduling',        'retrievability',     'double precision',         false, '1.0'),
  ('scheduling',        'last_review',        'timestamp with time zone', true,  NULL),
  ('scheduling',        'next_review',        'timestamp with time zone', true,  NULL),
  ('scheduling',        'reps',               'integer',                  false, '0'),
  ('scheduling',        'lapses',             'integer',                  false, '0'),
  ('edges',             'source_id',          'uuid',                     false, NULL),
  ('edges',             'target_id',          'uuid',                     false, NULL),
  ('edges',             'edge_type',          'text',                     false, '''related''::text'),
  ('edges',             'weight',             'double precision',         false, '1.0'),
  ('edges',             'created_at',         'timestamp with time zone', false, 'now()'),
  ('review_events',     'id',                 'bigint',                   false, 'nextval(''review_events_id_seq''::regclass)'),
  ('review_events',     'memory_id',          'uuid',                     false, NULL),
  ('review_events',     'timestamp',          'timestamp with time zone', false, 'now()'),
  ('review_events',     'rating',             'smallint',                 false, NULL),
  ('review_events',     'prior_state',        'jsonb',                    false, NULL),
  ('review_events',     'new_state',          'jsonb',                    false, NULL)
),

wanted_constraint (tab, con, definition) AS (VALUES
  ('embedding_model', 'embedding_model_one_row', 'CHECK ((id = 1))'),
  ('embedding_model', 'embedding_model_dimension_positive', 'CHECK ((dimension > 0))'),
  ('embedding_model', 'embedding_model_pkey', 'PRIMARY KEY (id)'),
  ('domains', 'domains_pkey', 'PRIMARY KEY (id)'),
  ('users', 'users_pkey', 'PRIMARY KEY (id)'),
  ('users', 'users_handle_key', 'UNIQUE (handle)'),
  ('groups', 'groups_pkey', 'PRIMARY KEY (id)'),
  ('groups', 'groups_handle_key', 'UNIQUE (handle)'),
  ('group_memberships', 'group_memberships_role_check', 'CHECK ((role = ANY (ARRAY[''member''::text, ''admin''::text])))'),
  ('group_memberships', 'group_memberships_pkey', 'PRIMARY KEY (user_id, group_id)'),
  ('group_memberships', 'group_memberships_user_id_fkey', 'FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE'),
  ('group_memberships', 'group_memberships_group_id_fkey', 'FOREIGN KEY (group_id) REFERENCES groups(id) ON DELETE CASCADE'),
  ('knowledge_nodes', 'knowledge_nodes_visibility_check',
   'CHECK ((visibility = ANY (ARRAY[''private''::text, ''group''::text, ''public''::text])))'),
  ('knowledge_nodes', 'knowledge_nodes_pkey', 'PRIMARY KEY (id)'),
  ('knowledge_nodes', 'knowledge_nodes_owner_user_id_fkey', 'FOREIGN KEY (owner_user_id) REFERENCES users(id)'),
  ('scheduling', 'scheduling_pkey', 'PRIMARY KEY (memory_id)'),
  ('scheduling', 'scheduling_memory_id_fkey', 'FOREIGN KEY (memory_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE'),
  ('edges', 'edges_pkey', 'PRIMARY KEY (source_id, target_id, edge_type)'),
  ('edges', 'edges_source_id_fkey', 'FOREIGN KEY (source_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE'),
  ('edges', 'edges_target_id_fkey', 'FOREIGN KEY (target_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE'),
  ('review_events', 'review_events_prior_state_no_secret', 'CHECK ((NOT holds_secret((prior_state)::text)))'),
  ('review_events', 'review_events_new_state_no_secret', 'CHECK ((NOT holds_secret((new_state)::text)))'),
  ('review_events', 'review_events_pkey', 'PRIMARY KEY (id)'),
  ('review_events', 'review_events_memory_id_fkey',
   'FOREIGN KEY (memory_id) REFERENCES knowledge_nodes(id) ON UPDATE RESTRICT ON DELETE RESTRICT')
),

wanted_index (tab, idx, definition) AS (VALUES
  ('knowledge_nodes', 'idx_knowledge_nodes_fts', 'USING gin (search_vec)'),
  ('knowledge_nodes', 'idx_knowledge_nodes_domains', 'USING gin (domains)'),
  ('knowledge_nodes', 'idx_knowledge_nodes_tags', 'USING gin (tags)'),
  ('knowledge_nodes', 'idx_knowledge_nodes_shared_groups', 'USING gin (shared_with_groups)'),
  ('knowledge_nodes', 'idx_knowledge_nodes_node_type', 'USING btree (node_type)'),
  ('knowledge_nodes', 'idx_knowledge_nodes_created', 'USING btree (created_at)'),
  ('knowledge_nodes', 'idx_knowledge_nodes_owner', 'USING btree (owner_user_id)'),
  ('knowledge_nodes', 'idx_knowledge_nodes_codebase', 'USING btree (codebase) WHERE (codebase IS NOT NULL)'),
  ('scheduling', 'idx_scheduling_next_review', 'USING btree (next_review)'),
  ('scheduling', 'idx_scheduling_last_review', 'USING btree (last_review)'),
  ('edges', 'idx_edges_target', 'USING btree (target_id)'),
  ('edges', 'idx_edges_source', 'USING btree (source_id)'),
  ('edges', 'idx_edges_type', 'USING btree (edge_type)'),
  ('review_events', 'idx_review_events_memory', 'USING btree (memory_id)'),
  ('review_events', 'idx_review_events_ts', 'USING btree ("timestamp")')
),

relation AS (
  SELECT c.oid, c.relname, c.relkind, pg_get_userbyid(c.relowner) AS owner
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'knowledge'
),

live_table AS (SELECT r.* FROM relation AS r JOIN wanted_table AS w ON w.tab = r.relname AND r.relkind = 'r'),

found (kind, object, problem) AS (

  SELECT 'function', w.signature, 'is missing'
    FROM wanted_function AS w
   WHERE NOT EXISTS (
      SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
       WHERE n.nspname = 'knowledge' AND format('%s(%s)', p.proname, oidvectortypes(p.proargtypes)) = w.signature
    )

  UNION ALL
  SELECT 'table', w.tab,
         CASE WHEN r.oid IS NULL THEN 'is missing'
              WHEN r.owner <> 'memory_owner' THEN format('is owned by %s, wanted %s', r.owner, 'memory_owner') END
    FROM wanted_table AS w
    LEFT JOIN live_table AS r ON r.relname = w.tab

  UNION ALL
  SELECT 'column', format('%s.%s', w.tab, w.col),
         CASE WHEN a.attnum IS NULL THEN 'is missing'
              WHEN live.type <> w.type THEN format('has type %s, wanted %s', live.type, w.type)
              WHEN (a.attgenerated = 's') <> (w.col = 'search_vec') THEN 'is generated otherwise than wanted'
              WHEN live.fallback IS DISTINCT FROM w.fallback
                THEN format('has default %s, wanted %s', coalesce(live.fallback, 'none'), coalesce(w.fallback, 'none'))
              WHEN a.attnotnull AND w.nullable THEN 'is NOT NULL, wanted nullable'
              WHEN NOT a.attnotnull AND NOT w.nullable THEN 'is nullable, wanted NOT NULL' END
    FROM wanted_column AS w
    JOIN live_table AS r ON r.relname = w.tab
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attname = w.col AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
   CROSS JOIN LATERAL (
      -- register_model gives the embedding its dimension; a vector of any dimension is a vector here.
      SELECT replace(format_type(a.atttypid, CASE a.attname WHEN 'embedding' THEN -1 ELSE a.atttypmod END), 'public.', ''),
             replace(pg_get_expr(d.adbin, d.adrelid), 'knowledge.', '')
    ) AS live (type, fallback)

  UNION ALL
  SELECT 'constraint', format('%s.%s', w.tab, w.con),
         CASE WHEN c.oid IS NULL THEN 'is missing'
              WHEN NOT c.convalidated THEN 'is not validated'
              WHEN live.definition <> w.definition THEN format('is %s, wanted %s', live.definition, w.definition) END
    FROM wanted_constraint AS w
    JOIN live_table AS r ON r.relname = w.tab
    LEFT JOIN pg_catalog.pg_constraint AS c ON c.conrelid = r.oid AND c.conname = w.con
   CROSS JOIN LATERAL (
      SELECT regexp_replace(replace(pg_get_constraintdef(c.oid), 'knowledge.', ''), '\s+', ' ', 'g')
    ) AS live (definition)

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
        replace(pg_get_indexdef(i.indexrelid), 'knowledge.', ''), '^CREATE (UNIQUE )?INDEX \S+ ON \S+ ', '\1')
    ) AS live (definition)

  -- What could make a row of a history, or of its parents, vanish or change on its way in or out.
  UNION ALL
  SELECT 'table', r.relname, f.problem
    FROM (VALUES ('review_events'), ('knowledge_nodes')) AS history (tab)
    JOIN relation AS r ON r.relname = history.tab
   CROSS JOIN LATERAL (
      SELECT format('has the trigger %s, which is none of ours', t.tgname)
        FROM pg_catalog.pg_trigger AS t
       WHERE t.tgrelid = r.oid AND NOT t.tgisinternal
         AND t.tgname NOT IN ('append_only', 'append_only_row', 'keep_row_with_history', 'trg_knowledge_nodes_updated_at')
      UNION ALL
      SELECT format('has the rule %s', w.rulename) FROM pg_catalog.pg_rewrite AS w WHERE w.ev_class = r.oid
      UNION ALL
      SELECT format('has the child table %s', c.relname)
        FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
       WHERE i.inhparent = r.oid
      UNION ALL
      SELECT 'has row level security, which hides rows'
        FROM pg_catalog.pg_class AS c
       WHERE c.oid = r.oid AND (c.relrowsecurity OR c.relforcerowsecurity)
      UNION ALL
      SELECT format('has the foreign key %s, whose triggers are disabled', k.conname)
        FROM pg_catalog.pg_constraint AS k
       WHERE k.conrelid = r.oid AND k.contype = 'f'
         AND EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
    ) AS f (problem)
)

SELECT kind, 'knowledge.' || object AS object, problem FROM found WHERE problem IS NOT NULL;
