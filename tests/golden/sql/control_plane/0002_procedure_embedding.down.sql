-- Undo 0002. Irreversible where rows exist: this file then refuses and changes nothing. It drops this table only.

-- Locked first, so that no row arrives between the look and the drop.
LOCK TABLE control_plane.memory_procedure_embedding IN ACCESS EXCLUSIVE MODE;

DO $$ BEGIN
  IF EXISTS (SELECT FROM control_plane.memory_procedure_embedding) THEN
    RAISE EXCEPTION 'control_plane.memory_procedure_embedding holds rows; 0002 is not reversible'
      USING HINT = 'Delete them first, as the owner: they are derived, and can be computed again.';
  END IF;
END $$;

DROP TABLE control_plane.memory_procedure_embedding RESTRICT;
