-- R1 triggers: review_events is append-only, a reviewed node stays, and updated_at follows what somebody wrote.
-- pgberth: needs=0001
--
-- What:    on review_events, one trigger for statements (a statement that matches no row and TRUNCATE are refused too) and one for rows
--          (logical replication fires no other); on knowledge_nodes, one that keeps nodes with history, and the updated_at trigger.
-- Locks:   SHARE ROW EXCLUSIVE on both tables, for a moment.
-- Depends: 0001.
--
-- ENABLE ALWAYS, or session_replication_role = replica would switch them off. CREATE OR REPLACE TRIGGER resets it, so it is said
-- again after each. They raise and never return NULL: that would skip the row silently, and leave orphans behind a parent's delete.
-- No setting opens them; the only way past is deploy/erase.py, as the owner. See runbooks/append-only-refused.md.

CREATE OR REPLACE FUNCTION knowledge.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION '%.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'restrict_violation',
          HINT = 'Write a new row that corrects the old one. See runbooks/append-only-refused.md';
END $$;

CREATE OR REPLACE FUNCTION knowledge.keep_row_with_history() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.id = OLD.id THEN
    RETURN NEW;
  END IF;
  IF EXISTS (SELECT FROM knowledge.review_events WHERE memory_id = OLD.id) THEN
    RAISE EXCEPTION '%.% % has append-only rows: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, OLD.id, TG_OP
      USING ERRCODE = 'restrict_violation',
            HINT = 'A node that was reviewed stays. See runbooks/append-only-refused.md';
  END IF;
  RETURN CASE TG_OP WHEN 'UPDATE' THEN NEW ELSE OLD END;
END $$;

CREATE OR REPLACE FUNCTION knowledge.set_updated_at() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON knowledge.review_events
  FOR EACH STATEMENT EXECUTE FUNCTION knowledge.refuse_change();
CREATE OR REPLACE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON knowledge.review_events
  FOR EACH ROW EXECUTE FUNCTION knowledge.refuse_change();
ALTER TABLE knowledge.review_events ENABLE ALWAYS TRIGGER append_only, ENABLE ALWAYS TRIGGER append_only_row;

CREATE OR REPLACE TRIGGER keep_row_with_history BEFORE DELETE OR UPDATE OF id ON knowledge.knowledge_nodes
  FOR EACH ROW EXECUTE FUNCTION knowledge.keep_row_with_history();
ALTER TABLE knowledge.knowledge_nodes ENABLE ALWAYS TRIGGER keep_row_with_history;

-- What is derived (embedding, domains, domain_scores) and who may see it do not count as writing.
CREATE OR REPLACE TRIGGER trg_knowledge_nodes_updated_at
  BEFORE UPDATE OF content, node_type, tags, metadata, codebase ON knowledge.knowledge_nodes
  FOR EACH ROW
  WHEN (OLD.content IS DISTINCT FROM NEW.content OR OLD.node_type IS DISTINCT FROM NEW.node_type
        OR OLD.tags IS DISTINCT FROM NEW.tags OR OLD.metadata IS DISTINCT FROM NEW.metadata
        OR OLD.codebase IS DISTINCT FROM NEW.codebase)
  EXECUTE FUNCTION knowledge.set_updated_at();
