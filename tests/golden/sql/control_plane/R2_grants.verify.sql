-- R2 is in order when this returns no row: exactly these rights, on whatever is there of the schema.

WITH
relation (oid, name, owner, acl) AS (
  SELECT c.oid, format('%s.%s', n.nspname, c.relname), c.relowner, c.relacl
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'control_plane' AND c.relname <> 'memory_procedure_embedding'
),

held (object, owner, acl) AS (
  SELECT n.nspname, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'control_plane'
  UNION ALL
  SELECT format('%s.%s(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), p.proowner,
         coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
   WHERE n.nspname = 'control_plane'
  UNION ALL
  SELECT r.name, r.owner, r.acl FROM relation AS r
  UNION ALL
  SELECT format('%s.%s', r.name, a.attname), r.owner, a.attacl
    FROM relation AS r JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
),

given (object, grantee, privilege) AS (
  SELECT h.object,
         CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END,
         acl.privilege_type || CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    FROM held AS h CROSS JOIN LATERAL aclexplode(h.acl) AS acl
   WHERE acl.grantee <> h.owner
),

wanted_by_object (object, privileges) AS (VALUES
  ('control_plane', '{USAGE}'),
  ('control_plane.holds_secret(text)', '{EXECUTE}'),
  ('control_plane.is_reference(text)', '{EXECUTE}'),
  ('control_plane.are_references(jsonb)', '{EXECUTE}'),
  ('control_plane.task_run', '{SELECT,INSERT,UPDATE}'),
  ('control_plane.memory_procedure', '{SELECT,INSERT,UPDATE}'),
  ('control_plane.task_checkpoint', '{SELECT}'),
  ('control_plane.memory_procedure_version', '{SELECT}'),
  ('control_plane.memory_procedure_event', '{SELECT}')
),

wanted_columns (tab, columns) AS (VALUES
  ('task_checkpoint',
   '{task_run_id,checkpoint_kind,sequence_no,summary,state,next_action,source_refs,evidence_refs,self_correction_count,created_by}'),
  ('memory_procedure_version',
   '{procedure_id,version_no,title,trigger_text,intent_tags,problem_signature,preconditions,steps,inputs_schema,outputs_schema,'
   'success_criteria,failure_modes,fallback_steps,content_hash,change_reason,evidence_refs,source_task_run_id,created_by}'),
  ('memory_procedure_event',
   '{procedure_id,procedure_version_id,task_run_id,event_type,actor,payload,evidence_refs}')
),

wanted (object, grantee, privilege) AS (
  SELECT w.object, 'memory_app', p.privilege
    FROM wanted_by_object AS w CROSS JOIN LATERAL unnest(w.privileges::text[]) AS p (privilege)
  UNION ALL
  SELECT format('control_plane.%s.%s', w.tab, c.col), 'memory_app', 'INSERT'
    FROM wanted_columns AS w CROSS JOIN LATERAL unnest(w.columns::text[]) AS c (col)
)

SELECT 'grant' AS kind, coalesce(w.object, g.object) AS object,
       CASE WHEN g.object IS NULL THEN format('lacks %s for %s', w.privilege, w.grantee)
            ELSE format('has %s for %s, not wanted', g.privilege, g.grantee) END AS problem
  FROM (SELECT * FROM wanted WHERE object IN (SELECT h.object FROM held AS h)) AS w
  FULL JOIN given AS g ON g.object = w.object AND g.grantee = w.grantee AND g.privilege = w.privilege
 WHERE w.object IS NULL OR g.object IS NULL;
