-- Undo 0001. Irreversible where rows exist: this file then refuses and changes nothing.

-- Locked first, so that no row arrives between the look and the drop.
LOCK TABLE memory_plugin.memory_records, memory_plugin.memory_namespaces IN ACCESS EXCLUSIVE MODE;

DO $$ BEGIN
  IF EXISTS (SELECT FROM memory_plugin.memory_records) OR EXISTS (SELECT FROM memory_plugin.memory_namespaces) THEN
    RAISE EXCEPTION 'memory_plugin holds rows; 0001 is not reversible'
      USING HINT = 'Take a copy, then empty memory_records and memory_namespaces: runbooks/keep-a-copy.md';
  END IF;
END $$;

DROP TABLE memory_plugin.memory_records RESTRICT;
DROP TABLE memory_plugin.memory_namespaces RESTRICT;
