-- R1 is in order when this returns no row. A body is known by the SHA-256 of its text.

WITH
relation AS (
  SELECT c.oid, c.relname
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'knowledge' AND c.relkind = 'r'
),

wanted_function (name, body) AS (VALUES
  ('refuse_change',         'e31c699204c2a2b033ada10f9088bcd18504b4160b00dba937a5fdfb6951fdd2'),
  ('keep_row_with_history', 'c1913fb7187abe80e753322271c0d9bb81434abd940bf8cb3f162785cdb8d94e'),
  ('set_updated_at',        '807101d3537080bc746ef96448d5657ff72f33f8ea428f3b1f37cac0cf86d39c')
),

wanted_trigger (tab, name, enabled, definition) AS (VALUES
  ('review_events', 'append_only', 'A',
   'BEFORE DELETE OR UPDATE OR TRUNCATE FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()'),
  ('review_events', 'append_only_row', 'A', 'BEFORE DELETE OR UPDATE FOR EACH ROW EXECUTE FUNCTION refuse_change()'),
  ('knowledge_nodes', 'keep_row_with_history', 'A',
   'BEFORE DELETE OR UPDATE OF id FOR EACH ROW EXECUTE FUNCTION keep_row_with_history()'),
  ('knowledge_nodes', 'trg_knowledge_nodes_updated_at', 'O',
   'BEFORE UPDATE OF content, node_type, tags, metadata, codebase FOR EACH ROW '
   'WHEN (((old.content IS DISTINCT FROM new.content) OR (old.node_type IS DISTINCT FROM new.node_type) '
   'OR (old.tags IS DISTINCT FROM new.tags) OR (old.metadata IS DISTINCT FROM new.metadata) '
   'OR (old.codebase IS DISTINCT FROM new.codebase))) EXECUTE FUNCTION set_updated_at()')
),

found (kind, object, problem) AS (
  SELECT 'function', w.name || '()',
         CASE WHEN p.oid IS NULL THEN 'is missing'
              WHEN pg_get_userbyid(p.proowner) <> 'memory_owner'
                THEN format('is owned by %s, wanted %s', pg_get_userbyid(p.proowner), 'memory_owner')
              WHEN encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex') <> w.body THEN 'has another body'
              WHEN p.proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}' THEN 'has no pinned search_path'
              WHEN p.prosecdef THEN 'is SECURITY DEFINER' END
    FROM wanted_function AS w
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'knowledge'
    LEFT JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid AND p.proname = w.name AND p.pronargs = 0

  UNION ALL
  SELECT 'trigger', format('%s.%s', w.tab, w.name),
         CASE WHEN t.oid IS NULL THEN 'is missing'
              WHEN t.tgenabled = 'D' THEN 'is disabled'
              WHEN t.tgenabled <> w.enabled::"char"
                THEN CASE w.enabled WHEN 'A' THEN 'is not ENABLE ALWAYS' ELSE 'is enabled otherwise than wanted' END
              WHEN live.definition <> w.definition THEN format('is %s, wanted %s', live.definition, w.definition) END
    FROM wanted_trigger AS w
    JOIN relation AS r ON r.relname = w.tab
    LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = r.oid AND t.tgname = w.name AND NOT t.tgisinternal
   CROSS JOIN LATERAL (
      SELECT regexp_replace(
        replace(pg_get_triggerdef(t.oid), 'knowledge.', ''), '^CREATE TRIGGER \S+ (.*) ON \S+ (FOR EACH .*)$', '\1 \2')
    ) AS live (definition)
)

SELECT kind, 'knowledge.' || object AS object, problem FROM found WHERE problem IS NOT NULL;
