-- Undo 0001. Irreversible where rows exist: this file then refuses and changes nothing.
--
-- The functions of R0 and R1 go with it, where they are there.

-- Locked first, so that no row arrives between the look and the drop.
LOCK TABLE control_plane.task_run, control_plane.task_checkpoint, control_plane.memory_procedure,
           control_plane.memory_procedure_version, control_plane.memory_procedure_event IN ACCESS EXCLUSIVE MODE;

DO $$ BEGIN
  IF EXISTS (SELECT FROM control_plane.task_run) OR EXISTS (SELECT FROM control_plane.memory_procedure)
     OR EXISTS (SELECT FROM control_plane.task_checkpoint)
     OR EXISTS (SELECT FROM control_plane.memory_procedure_version)
     OR EXISTS (SELECT FROM control_plane.memory_procedure_event) THEN
    RAISE EXCEPTION 'control_plane holds rows; 0001 is not reversible'
      USING HINT = 'Its history cannot be emptied by hand: runbooks/append-only-refused.md. A copy first: runbooks/keep-a-copy.md';
  END IF;
END $$;

DROP TABLE control_plane.memory_procedure_event RESTRICT;
DROP TABLE control_plane.memory_procedure_version RESTRICT;
DROP TABLE control_plane.memory_procedure RESTRICT;
DROP TABLE control_plane.task_checkpoint RESTRICT;
DROP TABLE control_plane.task_run RESTRICT;

DROP FUNCTION IF EXISTS control_plane.keep_row_with_history() RESTRICT;
DROP FUNCTION IF EXISTS control_plane.refuse_change() RESTRICT;
DROP FUNCTION control_plane.are_references(jsonb) RESTRICT;
DROP FUNCTION control_plane.is_reference(text) RESTRICT;
DROP FUNCTION control_plane.holds_secret(text) RESTRICT;

DROP TYPE control_plane.memory_procedure_event_type RESTRICT;
DROP TYPE control_plane.memory_procedure_status RESTRICT;
DROP TYPE control_plane.checkpoint_kind RESTRICT;
DROP TYPE control_plane.task_run_status RESTRICT;
