-- R2 grants of knowledge: the app appends reviews, and writes everything else but the model registry.
-- pgberth: needs=0001
--
-- What:    takes every right from everybody but the owner, then gives the app its own.
-- Locks:   none that a reader or writer would notice.
-- Depends: 0001, R0 and R1 (functions).
--
-- INSERT is given column by column on review_events: an id or a time that the caller chooses would be a forged history. An import of
-- history therefore runs as the migrator.

DO $$
DECLARE
  given record;
BEGIN
  -- This CASCADE takes back what a grantee has passed on; it removes no object.
  FOR given IN
    SELECT DISTINCT held.object, CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS grantee
      FROM (
        SELECT 'SCHEMA ' || n.oid::regnamespace, n.nspowner, n.nspacl
          FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'knowledge'
        UNION ALL
        SELECT 'TABLE ' || c.oid::regclass, c.relowner, c.relacl
          FROM pg_catalog.pg_class AS c
         WHERE c.relnamespace = 'knowledge'::regnamespace
        UNION ALL
        SELECT 'TABLE ' || c.oid::regclass, c.relowner, a.attacl
          FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'knowledge'::regnamespace
        UNION ALL
        SELECT 'FUNCTION ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
          FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = 'knowledge'::regnamespace
      ) AS held (object, owner, acl)
     CROSS JOIN LATERAL aclexplode(held.acl) AS acl
     WHERE acl.grantee <> held.owner
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', given.object, given.grantee);
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA knowledge TO "memory_app";

-- The checks and the generated column of a table run as whoever writes to it.
GRANT EXECUTE ON FUNCTION knowledge.holds_secret(text), knowledge.tags_text(text[]) TO "memory_app";

GRANT SELECT, INSERT, UPDATE, DELETE ON
  knowledge.domains, knowledge.users, knowledge.groups, knowledge.group_memberships, knowledge.knowledge_nodes,
  knowledge.scheduling, knowledge.edges
  TO "memory_app";

GRANT SELECT ON knowledge.embedding_model TO "memory_app";

GRANT SELECT, INSERT (memory_id, rating, prior_state, new_state) ON knowledge.review_events TO "memory_app";

GRANT USAGE ON SEQUENCE knowledge.review_events_id_seq TO "memory_app";
