-- R1 is in order when this returns no row. A body is known by the SHA-256 of its text.

WITH
relation AS (
  SELECT c.oid, c.relname
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'control_plane' AND c.relkind = 'r'
),

append_only (tab) AS (VALUES ('task_checkpoint'), ('memory_procedure_version'), ('memory_procedure_event')),

wanted_function (name, body) AS (VALUES
  ('refuse_change',         'e31c699204c2a2b033ada10f9088bcd18504b4160b00dba937a5fdfb6951fdd2'),
  ('keep_row_with_history', '520ecdeec868a0fa99c1df1b99cb104491837872c8952e7f28b91099751a4edc')
),

wanted_trigger (tab, name, definition) AS (
  SELECT tab, 'append_only', 'BEFORE DELETE OR UPDATE OR TRUNCATE FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()'
    FROM append_only
  UNION ALL
  SELECT tab, 'append_only_row', 'BEFORE DELETE OR UPDATE FOR EACH ROW EXECUTE FUNCTION refuse_change()' FROM append_only
  UNION ALL
  SELECT tab, 'keep_row_with_history', 'BEFORE DELETE OR UPDATE OF id FOR EACH ROW EXECUTE FUNCTION keep_row_with_history()'
    FROM (VALUES ('task_run'), ('memory_procedure')) AS parent (tab)
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
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'control_plane'
    LEFT JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid AND p.proname = w.name AND p.pronargs = 0

  UNION ALL
  SELECT 'trigger', format('%s.%s', w.tab, w.name),
         CASE WHEN t.oid IS NULL THEN 'is missing'
              WHEN t.tgenabled <> 'A'
                THEN CASE t.tgenabled WHEN 'D' THEN 'is disabled' ELSE 'is not ENABLE ALWAYS' END
              WHEN live.definition <> w.definition THEN format('is %s, wanted %s', live.definition, w.definition) END
    FROM wanted_trigger AS w
    JOIN relation AS r ON r.relname = w.tab
    LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = r.oid AND t.tgname = w.name AND NOT t.tgisinternal
   CROSS JOIN LATERAL (
      SELECT regexp_replace(
        replace(pg_get_triggerdef(t.oid), 'control_plane.', ''), '^CREATE TRIGGER \S+ (.*) ON \S+ (FOR EACH .*)$', '\1 \2')
    ) AS live (definition)
)

SELECT kind, 'control_plane.' || object AS object, problem FROM found WHERE problem IS NOT NULL;
