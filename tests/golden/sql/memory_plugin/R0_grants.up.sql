-- R0 grants of memory_plugin: the app reads and writes rows, and nothing else.
-- pgberth: needs=0001
--
-- What:    takes every right from everybody but the owner, then gives the app its own.
-- Locks:   none that a reader or writer would notice.
-- Depends: 0001.
--
-- The plugin runs its own DDL at start-up unless it is told not to; without CREATE that DDL changes nothing here.

DO $$
DECLARE
  given record;
BEGIN
  -- This CASCADE takes back what a grantee has passed on; it removes no object.
  FOR given IN
    SELECT DISTINCT held.object, CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS grantee
      FROM (
        SELECT 'SCHEMA ' || n.oid::regnamespace, n.nspowner, n.nspacl
          FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'memory_plugin'
        UNION ALL
        SELECT 'TABLE ' || c.oid::regclass, c.relowner, c.relacl
          FROM pg_catalog.pg_class AS c WHERE c.relnamespace = 'memory_plugin'::regnamespace
        UNION ALL
        SELECT 'TABLE ' || c.oid::regclass, c.relowner, a.attacl
          FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'memory_plugin'::regnamespace
      ) AS held (object, owner, acl)
     CROSS JOIN LATERAL aclexplode(held.acl) AS acl
     WHERE acl.grantee <> held.owner
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', given.object, given.grantee);
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA memory_plugin TO "memory_app";

GRANT SELECT, INSERT, UPDATE, DELETE ON memory_plugin.memory_namespaces, memory_plugin.memory_records TO "memory_app";
