-- R3 grants of memory_procedure_embedding: the app adds embeddings and marks them superseded; it rewrites none.
-- pgberth: needs=0002
--
-- What:    takes every right from everybody but the owner, then gives the app its own.
-- Locks:   none that a reader or writer would notice.
-- Depends: 0002, R2.

DO $$
DECLARE
  given record;
BEGIN
  -- This CASCADE takes back what a grantee has passed on; it removes no object.
  FOR given IN
    SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS grantee
      FROM (
        SELECT c.relowner, c.relacl
          FROM pg_catalog.pg_class AS c WHERE c.oid = 'control_plane.memory_procedure_embedding'::regclass
        UNION ALL
        SELECT c.relowner, a.attacl
          FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
         WHERE c.oid = 'control_plane.memory_procedure_embedding'::regclass
      ) AS held (owner, acl)
     CROSS JOIN LATERAL aclexplode(held.acl) AS acl
     WHERE acl.grantee <> held.owner
  LOOP
    EXECUTE format('REVOKE ALL ON control_plane.memory_procedure_embedding FROM %s CASCADE', given.grantee);
  END LOOP;
END $$;

GRANT SELECT, UPDATE (superseded_at), INSERT (
    procedure_id, procedure_version_id, embedding_model, embedding_model_version, embedding_dim, content_hash, embedding
  ) ON control_plane.memory_procedure_embedding TO "memory_app";
