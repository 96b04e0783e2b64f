-- Undo 0001. Irreversible where rows exist: this file then refuses and changes nothing.
--
-- The first user as 0001 wrote it does not count, nor does the registered model: it describes a column that goes as well.
-- The functions of R0 and R1 go with it, where they are there. The extension stays.

-- Locked first, so that no row arrives between the look and the drop.
LOCK TABLE knowledge.users, knowledge.groups, knowledge.group_memberships, knowledge.domains, knowledge.knowledge_nodes,
           knowledge.scheduling, knowledge.edges, knowledge.review_events, knowledge.embedding_model IN ACCESS EXCLUSIVE MODE;

DO $$ BEGIN
  IF EXISTS (SELECT FROM knowledge.knowledge_nodes) OR EXISTS (SELECT FROM knowledge.review_events)
     OR EXISTS (SELECT FROM knowledge.scheduling) OR EXISTS (SELECT FROM knowledge.edges)
     OR EXISTS (SELECT FROM knowledge.domains) OR EXISTS (SELECT FROM knowledge.groups)
     OR EXISTS (SELECT FROM knowledge.group_memberships)
     OR EXISTS (SELECT FROM knowledge.users
                 WHERE (id, handle, display_name, metadata) IS DISTINCT FROM
                       ('00000000-0000-0000-0000-000000000001'::uuid, 'local'::text, 'Local User'::text, '{}'::jsonb)) THEN
    RAISE EXCEPTION 'knowledge holds rows; 0001 is not reversible'
      USING HINT = 'Take a copy, then empty the tables: runbooks/keep-a-copy.md';
  END IF;
END $$;

DROP TABLE knowledge.review_events RESTRICT;
DROP TABLE knowledge.edges RESTRICT;
DROP TABLE knowledge.scheduling RESTRICT;
DROP TABLE knowledge.knowledge_nodes RESTRICT;
DROP TABLE knowledge.group_memberships RESTRICT;
DROP TABLE knowledge.groups RESTRICT;
DROP TABLE knowledge.users RESTRICT;
DROP TABLE knowledge.domains RESTRICT;
DROP TABLE knowledge.embedding_model RESTRICT;

DROP FUNCTION IF EXISTS knowledge.set_updated_at() RESTRICT;
DROP FUNCTION IF EXISTS knowledge.keep_row_with_history() RESTRICT;
DROP FUNCTION IF EXISTS knowledge.refuse_change() RESTRICT;
DROP FUNCTION knowledge.holds_secret(text) RESTRICT;
DROP FUNCTION knowledge.tags_text(text[]) RESTRICT;
