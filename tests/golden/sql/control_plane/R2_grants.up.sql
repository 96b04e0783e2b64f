-- R2 grants of control_plane: the app appends to history, and writes the present state; it deletes nothing.
-- pgberth: needs=0001
--
-- What:    takes every right from everybody but the owner, then gives the app its own.
-- Locks:   none that a reader or writer would notice.
-- Depends: 0001, R0 and R1 (functions). R3 does the same for the table of 0002.
--
-- INSERT is given column by column on the append-only tables: an id or a time that the caller chooses would be a forged history, and
-- COPY would take it even from GENERATED ALWAYS.

DO $$
DECLARE
  given record;
BEGIN
  -- This CASCADE takes back what a grantee has passed on; it removes no object.
  FOR given IN
    SELECT DISTINCT held.object, CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS grantee
      FROM (
        SELECT 'SCHEMA ' || n.oid::regnamespace, n.nspowner, n.nspacl
          FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'control_plane'
        UNION ALL
        SELECT 'TABLE ' || c.oid::regclass, c.relowner, c.relacl
          FROM pg_catalog.pg_class AS c
         WHERE c.relnamespace = 'control_plane'::regnamespace AND c.relname <> 'memory_procedure_embedding'
        UNION ALL
        SELECT 'TABLE ' || c.oid::regclass, c.relowner, a.attacl
          FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'control_plane'::regnamespace AND c.relname <> 'memory_procedure_embedding'
        UNION ALL
        SELECT 'FUNCTION ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
          FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = 'control_plane'::regnamespace
      ) AS held (object, owner, acl)
     CROSS JOIN LATERAL aclexplode(held.acl) AS acl
     WHERE acl.grantee <> held.owner
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', given.object, given.grantee);
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA control_plane TO "memory_app";

-- The checks of a table run as whoever writes to it.
GRANT EXECUTE ON FUNCTION
  control_plane.holds_secret(text), control_plane.is_reference(text), control_plane.are_references(jsonb)
  TO "memory_app";

GRANT SELECT, INSERT, UPDATE ON control_plane.task_run, control_plane.memory_procedure TO "memory_app";

GRANT SELECT, INSERT (
    task_run_id, checkpoint_kind, sequence_no, summary, state, next_action, source_refs, evidence_refs, self_correction_count,
    created_by
  ) ON control_plane.task_checkpoint TO "memory_app";

GRANT SELECT, INSERT (
    procedure_id, version_no, title, trigger_text, intent_tags, problem_signature, preconditions, steps, inputs_schema,
    outputs_schema, success_criteria, failure_modes, fallback_steps, content_hash, change_reason, evidence_refs,
    source_task_run_id, created_by
  ) ON control_plane.memory_procedure_version TO "memory_app";

GRANT SELECT, INSERT (
    procedure_id, procedure_version_id, task_run_id, event_type, actor, payload, evidence_refs
  ) ON control_plane.memory_procedure_event TO "memory_app";
