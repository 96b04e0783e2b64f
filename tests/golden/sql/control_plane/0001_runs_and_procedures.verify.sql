-- 0001 is in order when this returns no row.
--
-- Definitions are compared as the server prints them, less line breaks and schema names, which depend on the reader's search_path.
-- The bodies of the functions are the business of R0.

WITH
wanted_type (name, labels) AS (VALUES
  ('task_run_status', '{planned,running,blocked,succeeded,failed,abandoned}'),
  ('checkpoint_kind',
   '{session_start,handoff_created,task_start,after_inspection,before_risky_change,after_mutation,after_tests,blocked,rescue_request,'
   'task_end,session_end,pre_compaction,post_compaction}'),
  ('memory_procedure_status', '{candidate,active,deprecated,blocked}'),
  ('memory_procedure_event_type',
   '{proposed,promoted,applied,succeeded,failed,contradicted,deprecated,blocked,reinstated}')
),

wanted_function (signature) AS (VALUES
  ('holds_secret(text)'), ('is_reference(text)'), ('are_references(jsonb)')
),

wanted_table (tab) AS (VALUES
  ('task_run'), ('task_checkpoint'), ('memory_procedure'), ('memory_procedure_version'), ('memory_procedure_event')
),

wanted_column (tab, col, type, nullable, fallback) AS (VALUES
  ('task_run',                 'id',                    'uuid',                        false, 'gen_random_uuid()'),
  ('task_run',                 'task_key',              'text',                        false, NULL),
  ('task_run',                 'cousin',                'text',                        false, NULL),
  ('task_run',                 'repo',                  'text',                        true,  NULL),
  ('task_run',                 'branch',                'text',                        true,  NULL),
  ('task_run',                 'issue_ref',             'text',                        true,  NULL),
  ('task_run',                 'pr_ref',                'text',                        true,  NULL),
  ('task_run',                 'objective',             'text',                        false, NULL),
  ('task_run',                 'status',                'task_run_status',             false, '''planned''::task_run_status'),
  ('task_run',                 'source_refs',           'jsonb',                       false, '''[]''::jsonb'),
  ('task_run',                 'created_at',            'timestamp with time zone',    false, 'now()'),
  ('task_run',                 'started_at',            'timestamp with time zone',    true,  NULL),
  ('task_run',                 'completed_at',          'timestamp with time zone',    true,  NULL),
  ('task_checkpoint',          'id',                    'uuid',                        false, 'gen_random_uuid()'),
  ('task_checkpoint',          'task_run_id',           'uuid',                        false, NULL),
  ('task_checkpoint',          'checkpoint_kind',       'checkpoint_kind',             false, NULL),
  ('task_checkpoint',          'sequence_no',           'integer',                     false, NULL),
  ('task_checkpoint',          'summary',               'text',                        false, NULL),
  ('task_checkpoint',          'state',                 'jsonb',                       false, '''{}''::jsonb'),
  ('task_checkpoint',          'next_action',           'text',                        true,  NULL),
  ('task_checkpoint',          'source_refs',           'jsonb',                       false, '''[]''::jsonb'),
  ('task_checkpoint',          'evidence_refs',         'jsonb',                       false, '''[]''::jsonb'),
  ('task_checkpoint',          'self_correction_count', 'integer',                     false, '0'),
  ('task_checkpoint',          'created_by',            'text',                        false, NULL),
  ('task_checkpoint',          'created_at',            'timestamp with time zone',    false, 'now()'),
  ('memory_procedure',         'id',                    'uuid',                        false, 'gen_random_uuid()'),
  ('memory_procedure',         'slug',                  'text',                        false, NULL),
  ('memory_procedure',         'title',                 'text',                        false, NULL),
  ('memory_procedure',         'status',                'memory_procedure_status',     false, '''candidate''::memory_procedure_status'),
  ('memory_procedure',         'owner_cousin',          'text',                        true,  NULL),
  ('memory_procedure',         'scope',                 'text',                        false, '''global''::text'),
  ('memory_procedure',         'repo',                  'text',                        true,  NULL),
  ('memory_procedure',         'workstream',            'text',                        true,  NULL),
  ('memory_procedure',         'trigger_text',          'text',                        false, NULL),
  ('memory_procedure',         'intent_tags',           'text[]',                      false, '''{}''::text[]'),
  ('memory_procedure',         'problem_signature',     'jsonb',                       false, '''{}''::jsonb'),
  ('memory_procedure',         'preconditions',         'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure',         'steps',                 'jsonb',                       false, NULL),
  ('memory_procedure',         'inputs_schema',         'jsonb',                       false, '''{}''::jsonb'),
  ('memory_procedure',         'outputs_schema',        'jsonb',                       false, '''{}''::jsonb'),
  ('memory_procedure',         'success_criteria',      'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure',         'failure_modes',         'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure',         'fallback_steps',        'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure',         'created_by',            'text',                        false, NULL),
  ('memory_procedure',         'verified_by',           'text[]',                      false, '''{}''::text[]'),
  ('memory_procedure',         'evidence_refs',         'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure',         'source_task_run_ids',   'uuid[]',                      false, '''{}''::uuid[]'),
  ('memory_procedure',         'confidence',            'numeric(3,2)',                false, '0.50'),
  ('memory_procedure',         'use_count',             'integer',                     false, '0'),
  ('memory_procedure',         'success_count',         'integer',                     false, '0'),
  ('memory_procedure',         'failure_count',         'integer',                     false, '0'),
  ('memory_procedure',         'last_used_at',          'timestamp with time zone',    true,  NULL),
  ('memory_procedure',         'valid_from',            'timestamp with time zone',    false, 'now()'),
  ('memory_procedure',         'invalid_at',            'timestamp with time zone',    true,  NULL),
  ('memory_procedure',         'created_at',            'timestamp with time zone',    false, 'now()'),
  ('memory_procedure',         'updated_at',            'timestamp with time zone',    false, 'now()'),
  ('memory_procedure_version', 'id',                    'uuid',                        false, 'gen_random_uuid()'),
  ('memory_procedure_version', 'procedure_id',          'uuid',                        false, NULL),
  ('memory_procedure_version', 'version_no',            'integer',                     false, NULL),
  ('memory_procedure_version', 'title',                 'text',                        false, NULL),
  ('memory_procedure_version', 'trigger_text',          'text',                        false, NULL),
  ('memory_procedure_version', 'intent_tags',           'text[]',                      false, '''{}''::text[]'),
  ('memory_procedure_version', 'problem_signature',     'jsonb',                       false, '''{}''::jsonb'),
  ('memory_procedure_version', 'preconditions',         'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure_version', 'steps',                 'jsonb',                       false, NULL),
  ('memory_procedure_version', 'inputs_schema',         'jsonb',                       false, '''{}''::jsonb'),
  ('memory_procedure_version', 'outputs_schema',        'jsonb',                       false, '''{}''::jsonb'),
  ('memory_procedure_version', 'success_criteria',      'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure_version', 'failure_modes',         'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure_version', 'fallback_steps',        'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure_version', 'content_hash',          'text',                        false, NULL),
  ('memory_procedure_version', 'change_reason',         'text',                        false, NULL),
  ('memory_procedure_version', 'evidence_refs',         'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure_version', 'source_task_run_id',    'uuid',                        true,  NULL),
  ('memory_procedure_version', 'created_by',            'text',                        false, NULL),
  ('memory_procedure_version', 'created_at',            'timestamp with time zone',    false, 'now()'),
  ('memory_procedure_event',   'id',                    'uuid',                        false, 'gen_random_uuid()'),
  ('memory_procedure_event',   'procedure_id',          'uuid',                        false, NULL),
  ('memory_procedure_event',   'procedure_version_id',  'uuid',                        true,  NULL),
  ('memory_procedure_event',   'task_run_id',           'uuid',                        true,  NULL),
  ('memory_procedure_event',   'event_type',            'memory_procedure_event_type', false, NULL),
  ('memory_procedure_event',   'actor',                 'text',                        false, NULL),
  ('memory_procedure_event',   'payload',               'jsonb',                       false, '''{}''::jsonb'),
  ('memory_procedure_event',   'evidence_refs',         'jsonb',                       false, '''[]''::jsonb'),
  ('memory_procedure_event',   'occurred_at',           'timestamp with time zone',    false, 'now()')
),

wanted_constraint (tab, con, definition) AS (VALUES
  ('task_run', 'task_run_issue_ref_is_reference', 'CHECK (is_reference(issue_ref))'),
  ('task_run', 'task_run_pr_ref_is_reference', 'CHECK (is_reference(pr_ref))'),
  ('task_run', 'task_run_source_refs_are_references', 'CHECK (are_references(source_refs))'),
  ('task_run', 'task_run_pkey', 'PRIMARY KEY (id)'),
  ('task_run', 'task_run_task_key_key', 'UNIQUE (task_key)'),
  ('task_checkpoint', 'task_checkpoint_sequence_no_positive', 'CHECK ((sequence_no > 0))'),
  ('task_checkpoint', 'task_checkpoint_summary_not_blank', 'CHECK ((summary ~ ''\S''::text))'),
  ('task_checkpoint', 'task_checkpoint_summary_no_secret', 'CHECK ((NOT holds_secret(summary)))'),
  ('task_checkpoint', 'task_checkpoint_state_no_secret', 'CHECK ((NOT holds_secret((state)::text)))'),
  ('task_checkpoint', 'task_checkpoint_next_action_no_secret', 'CHECK ((NOT holds_secret(next_action)))'),
  ('task_checkpoint', 'task_checkpoint_source_refs_are_references', 'CHECK (are_references(source_refs))'),
  ('task_checkpoint', 'task_checkpoint_evidence_refs_are_references', 'CHECK (are_references(evidence_refs))'),
  ('task_checkpoint', 'task_checkpoint_self_correction_count_not_negative', 'CHECK ((self_correction_count >= 0))'),
  ('task_checkpoint', 'task_checkpoint_created_by_no_secret', 'CHECK ((NOT holds_secret(created_by)))'),
  ('task_checkpoint', 'task_checkpoint_stopped_says_next_action',
   'CHECK (((checkpoint_kind <> ALL (ARRAY[''blocked''::checkpoint_kind, ''rescue_request''::checkpoint_kind])) '
   'OR (next_action IS NOT NULL)))'),
  ('task_checkpoint', 'task_checkpoint_pkey', 'PRIMARY KEY (id)'),
  ('task_checkpoint', 'task_checkpoint_task_run_id_sequence_no_key', 'UNIQUE (task_run_id, sequence_no)'),
  ('task_checkpoint', 'task_checkpoint_task_run_id_fkey',
   'FOREIGN KEY (task_run_id) REFERENCES task_run(id) ON UPDATE RESTRICT ON DELETE RESTRICT'),
  ('memory_procedure', 'memory_procedure_steps_not_empty',
   'CHECK ( CASE jsonb_typeof(steps) WHEN ''array''::text THEN (jsonb_array_length(steps) > 0) ELSE false END)'),
  ('memory_procedure', 'memory_procedure_evidence_refs_are_references', 'CHECK (are_references(evidence_refs))'),
  ('memory_procedure', 'memory_procedure_confidence_in_range',
   'CHECK (((confidence >= (0)::numeric) AND (confidence <= (1)::numeric)))'),
  ('memory_procedure', 'memory_procedure_use_count_not_negative', 'CHECK ((use_count >= 0))'),
  ('memory_procedure', 'memory_procedure_success_count_not_negative', 'CHECK ((success_count >= 0))'),
  ('memory_procedure', 'memory_procedure_failure_count_not_negative', 'CHECK ((failure_count >= 0))'),
  ('memory_procedure', 'memory_procedure_invalid_after_valid', 'CHECK ((invalid_at > valid_from))'),
  ('memory_procedure', 'memory_procedure_active_is_verified',
   'CHECK (((status <> ''active''::memory_procedure_status) OR (cardinality(verified_by) > 0)))'),
  ('memory_procedure', 'memory_procedure_pkey', 'PRIMARY KEY (id)'),
  ('memory_procedure', 'memory_procedure_slug_key', 'UNIQUE (slug)'),
  ('memory_procedure_version', 'memory_procedure_version_version_no_positive', 'CHECK ((version_no > 0))'),
  ('memory_procedure_version', 'memory_procedure_version_title_no_secret', 'CHECK ((NOT holds_secret(title)))'),
  ('memory_procedure_version', 'memory_procedure_version_trigger_text_no_secret', 'CHECK ((NOT holds_secret(trigger_text)))'),
  ('memory_procedure_version', 'memory_procedure_version_intent_tags_no_secret',
   'CHECK ((NOT holds_secret((intent_tags)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_problem_signature_no_secret',
   'CHECK ((NOT holds_secret((problem_signature)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_preconditions_no_secret',
   'CHECK ((NOT holds_secret((preconditions)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_steps_no_secret', 'CHECK ((NOT holds_secret((steps)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_inputs_schema_no_secret',
   'CHECK ((NOT holds_secret((inputs_schema)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_outputs_schema_no_secret',
   'CHECK ((NOT holds_secret((outputs_schema)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_success_criteria_no_secret',
   'CHECK ((NOT holds_secret((success_criteria)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_failure_modes_no_secret',
   'CHECK ((NOT holds_secret((failure_modes)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_fallback_steps_no_secret',
   'CHECK ((NOT holds_secret((fallback_steps)::text)))'),
  ('memory_procedure_version', 'memory_procedure_version_content_hash_is_sha256',
   'CHECK ((content_hash ~ ''^[0-9a-f]{64}$''::text))'),
  ('memory_procedure_version', 'memory_procedure_version_change_reason_no_secret', 'CHECK ((NOT holds_secret(change_reason)))'),
  ('memory_procedure_version', 'memory_procedure_version_evidence_refs_are_references', 'CHECK (are_references(evidence_refs))'),
  ('memory_procedure_version', 'memory_procedure_version_created_by_no_secret', 'CHECK ((NOT holds_secret(created_by)))'),
  ('memory_procedure_version', 'memory_procedure_version_pkey', 'PRIMARY KEY (id)'),
  ('memory_procedure_version', 'memory_procedure_version_procedure_id_version_no_key', 'UNIQUE (procedure_id, version_no)'),
  ('memory_procedure_version', 'memory_procedure_version_procedure_id_fkey',
   'FOREIGN KEY (procedure_id) REFERENCES memory_procedure(id) ON UPDATE RESTRICT ON DELETE RESTRICT'),
  ('memory_procedure_version', 'memory_procedure_version_source_task_run_id_fkey',
   'FOREIGN KEY (source_task_run_id) REFERENCES task_run(id) ON UPDATE RESTRICT ON DELETE RESTRICT'),
  ('memory_procedure_event', 'memory_procedure_event_actor_no_secret', 'CHECK ((NOT holds_secret(actor)))'),
  ('memory_procedure_event', 'memory_procedure_event_payload_no_secret', 'CHECK ((NOT holds_secret((payload)::text)))'),
  ('memory_procedure_event', 'memory_procedure_event_evidence_refs_are_references', 'CHECK (are_references(evidence_refs))'),
  ('memory_procedure_event', 'memory_procedure_event_pkey', 'PRIMARY KEY (id)'),
  ('memory_procedure_event', 'memory_procedure_event_procedure_id_fkey',
   'FOREIGN KEY (procedure_id) REFERENCES memory_procedure(id) ON UPDATE RESTRICT ON DELETE RESTRICT'),
  ('memory_procedure_event', 'memory_procedure_event_procedure_version_id_fkey',
   'FOREIGN KEY (procedure_version_id) REFERENCES memory_procedure_version(id) ON UPDATE RESTRICT ON DELETE RESTRICT'),
  ('memory_procedure_event', 'memory_procedure_event_task_run_id_fkey',
   'FOREIGN KEY (task_run_id) REFERENCES task_run(id) ON UPDATE RESTRICT ON DELETE RESTRICT')
),

wanted_index (tab, idx, definition) AS (VALUES
  ('task_run', 'idx_task_run_status', 'USING btree (status)'),
  ('task_run', 'idx_task_run_cousin_created', 'USING btree (cousin, created_at DESC)'),
  ('task_run', 'idx_task_run_repo_branch', 'USING btree (repo, branch)'),
  ('task_checkpoint', 'idx_task_checkpoint_run_sequence', 'USING btree (task_run_id, sequence_no DESC)'),
  ('task_checkpoint', 'idx_task_checkpoint_resume',
   'USING btree (task_run_id, created_at DESC) '
   'WHERE (checkpoint_kind = ANY (ARRAY[''task_end''::checkpoint_kind, ''blocked''::checkpoint_kind]))'),
  ('memory_procedure', 'idx_memory_procedure_intent_tags', 'USING gin (intent_tags)'),
  ('memory_procedure', 'idx_memory_procedure_status_scope', 'USING btree (status, scope)'),
  ('memory_procedure', 'idx_memory_procedure_repo', 'USING btree (repo) WHERE (repo IS NOT NULL)'),
  ('memory_procedure_event', 'idx_memory_procedure_event_procedure', 'USING btree (procedure_id, occurred_at)'),
  ('memory_procedure_event', 'idx_memory_procedure_event_task_run', 'USING btree (task_run_id)')
),

relation AS (
  SELECT c.oid, c.relname, c.relkind, pg_get_userbyid(c.relowner) AS owner
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'control_plane'
),

live_table AS (SELECT r.* FROM relation AS r JOIN wanted_table AS w ON w.tab = r.relname AND r.relkind = 'r'),

found (kind, object, problem) AS (

  SELECT 'type', w.name,
         CASE WHEN t.oid IS NULL THEN 'is missing'
              WHEN live.labels <> w.labels::text[] THEN format('has values %s, wanted %s', live.labels, w.labels) END
    FROM wanted_type AS w
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'control_plane'
    LEFT JOIN pg_catalog.pg_type AS t ON t.typnamespace = n.oid AND t.typname = w.name AND t.typtype = 'e'
   CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(e.enumlabel::text ORDER BY e.enumsortorder), '{}')
        FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t.oid
    ) AS live (labels)

  UNION ALL
  SELECT 'function', w.signature, 'is missing'
    FROM wanted_function AS w
   WHERE NOT EXISTS (
      SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
       WHERE n.nspname = 'control_plane' AND format('%s(%s)', p.proname, oidvectortypes(p.proargtypes)) = w.signature
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
              WHEN a.attgenerated <> '' THEN 'is generated, wanted plain'
              WHEN live.fallback IS DISTINCT FROM w.fallback
                THEN format('has default %s, wanted %s', coalesce(live.fallback, 'none'), coalesce(w.fallback, 'none'))
              WHEN a.attnotnull AND w.nullable THEN 'is NOT NULL, wanted nullable'
              WHEN NOT a.attnotnull AND NOT w.nullable THEN 'is nullable, wanted NOT NULL' END
    FROM wanted_column AS w
    JOIN live_table AS r ON r.relname = w.tab
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attname = w.col AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
   CROSS JOIN LATERAL (
      SELECT replace(format_type(a.atttypid, a.atttypmod), 'control_plane.', ''),
             replace(pg_get_expr(d.adbin, d.adrelid), 'control_plane.', '')
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
      SELECT regexp_replace(replace(pg_get_constraintdef(c.oid), 'control_plane.', ''), '\s+', ' ', 'g')
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
        replace(pg_get_indexdef(i.indexrelid), 'control_plane.', ''),
        '^CREATE (UNIQUE )?INDEX \S+ ON \S+ ', '\1')
    ) AS live (definition)

  -- What could make a row of a history, or of its parents, vanish or change on its way in or out.
  UNION ALL
  SELECT 'table', r.relname, f.problem
    FROM (VALUES
      ('task_checkpoint'), ('memory_procedure_version'), ('memory_procedure_event'), ('task_run'), ('memory_procedure')
    ) AS history (tab)
    JOIN relation AS r ON r.relname = history.tab
   CROSS JOIN LATERAL (
      SELECT format('has the trigger %s, which is none of ours', t.tgname)
        FROM pg_catalog.pg_trigger AS t
       WHERE t.tgrelid = r.oid AND NOT t.tgisinternal
         AND t.tgname NOT IN ('append_only', 'append_only_row', 'keep_row_with_history')
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

  -- Whatever else a table of this schema has: a reference is marked as one, and nothing is named like a secret.
  UNION ALL
  SELECT 'comment', format('%s.%s', r.relname, a.attname), 'is named like a reference and not marked pgberth:reference'
    FROM relation AS r
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
   WHERE r.relkind = 'r' AND a.attname ~ '_refs?$'
     AND coalesce(col_description(r.oid, a.attnum), '') !~ '^pgberth:reference'

  UNION ALL
  SELECT 'constraint', format('%s.%s', r.relname, a.attname), 'is named like a reference and not checked to be one'
    FROM relation AS r
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
   WHERE r.relkind = 'r' AND a.attname ~ '_refs?$'
     AND (r.relname, a.attname) NOT IN (SELECT tab, col FROM wanted_column)
     AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_constraint AS c
        WHERE c.conrelid = r.oid AND c.contype = 'c' AND c.convalidated AND a.attnum = ANY (c.conkey)
          AND pg_get_constraintdef(c.oid) ~ '(is_reference|are_references)\('
     )

  UNION ALL
  SELECT 'column', format('%s.%s', r.relname, a.attname), 'is named like a secret: keep a reference to it instead'
    FROM relation AS r
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
   WHERE r.relkind = 'r' AND a.attname ~ '(passw|secret|token|api_?key|credential)' AND a.attname !~ '_refs?$'
)

SELECT kind, 'control_plane.' || object AS object, problem FROM found WHERE problem IS NOT NULL;
