-- R1 append-only: triggers that refuse to change history, or to delete what history refers to.
-- pgberth: needs=0001
--
-- What:    on each append-only table, one trigger for statements (a statement that matches no row and TRUNCATE are refused too) and
--          one for rows (logical replication fires no other); on their parents, one that keeps rows with history.
-- Locks:   SHARE ROW EXCLUSIVE on each of the tables, for a moment.
-- Depends: 0001.
--
-- ENABLE ALWAYS, or session_replication_role = replica would switch them off. CREATE OR REPLACE TRIGGER resets it, so it is said
-- again after each. They raise and never return NULL: that would skip the row silently, and leave orphans behind a parent's delete.
-- No setting opens them; the only way past is deploy/erase.py, as the owner. See runbooks/append-only-refused.md.

CREATE OR REPLACE FUNCTION control_plane.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION '%.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'restrict_violation',
          HINT = 'Write a new row that corrects the old one. See runbooks/append-only-refused.md';
END $$;

CREATE OR REPLACE FUNCTION control_plane.keep_row_with_history() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  has_history boolean;
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.id = OLD.id THEN
    RETURN NEW;
  END IF;
  has_history := CASE TG_TABLE_NAME
    WHEN 'task_run' THEN
         EXISTS (SELECT FROM control_plane.task_checkpoint WHERE task_run_id = OLD.id)
      OR EXISTS (SELECT FROM control_plane.memory_procedure_version WHERE source_task_run_id = OLD.id)
      OR EXISTS (SELECT FROM control_plane.memory_procedure_event WHERE task_run_id = OLD.id)
    WHEN 'memory_procedure' THEN
         EXISTS (SELECT FROM control_plane.memory_procedure_version WHERE procedure_id = OLD.id)
      OR EXISTS (SELECT FROM control_plane.memory_procedure_event WHERE procedure_id = OLD.id)
    ELSE true
  END;
  IF has_history THEN
    RAISE EXCEPTION '%.% % has append-only rows: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, OLD.id, TG_OP
      USING ERRCODE = 'restrict_violation',
            HINT = 'Mark it as over instead: a status, invalid_at. See runbooks/append-only-refused.md';
  END IF;
  RETURN CASE TG_OP WHEN 'UPDATE' THEN NEW ELSE OLD END;
END $$;

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON control_plane.task_checkpoint
  FOR EACH STATEMENT EXECUTE FUNCTION control_plane.refuse_change();
CREATE OR REPLACE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON control_plane.task_checkpoint
  FOR EACH ROW EXECUTE FUNCTION control_plane.refuse_change();
ALTER TABLE control_plane.task_checkpoint ENABLE ALWAYS TRIGGER append_only, ENABLE ALWAYS TRIGGER append_only_row;

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON control_plane.memory_procedure_version
  FOR EACH STATEMENT EXECUTE FUNCTION control_plane.refuse_change();
CREATE OR REPLACE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON control_plane.memory_procedure_version
  FOR EACH ROW EXECUTE FUNCTION control_plane.refuse_change();
ALTER TABLE control_plane.memory_procedure_version ENABLE ALWAYS TRIGGER append_only, ENABLE ALWAYS TRIGGER append_only_row;

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON control_plane.memory_procedure_event
  FOR EACH STATEMENT EXECUTE FUNCTION control_plane.refuse_change();
CREATE OR REPLACE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON control_plane.memory_procedure_event
  FOR EACH ROW EXECUTE FUNCTION control_plane.refuse_change();
ALTER TABLE control_plane.memory_procedure_event ENABLE ALWAYS TRIGGER append_only, ENABLE ALWAYS TRIGGER append_only_row;

CREATE OR REPLACE TRIGGER keep_row_with_history BEFORE DELETE OR UPDATE OF id ON control_plane.task_run
  FOR EACH ROW EXECUTE FUNCTION control_plane.keep_row_with_history();
ALTER TABLE control_plane.task_run ENABLE ALWAYS TRIGGER keep_row_with_history;

CREATE OR REPLACE TRIGGER keep_row_with_history BEFORE DELETE OR UPDATE OF id ON control_plane.memory_procedure
  FOR EACH ROW EXECUTE FUNCTION control_plane.keep_row_with_history();
ALTER TABLE control_plane.memory_procedure ENABLE ALWAYS TRIGGER keep_row_with_history;
