-- R3 is in order when this returns no row: exactly these rights, where the table is there.

WITH
relation (oid, name, owner, acl) AS (
  SELECT c.oid, format('%s.%s', n.nspname, c.relname), c.relowner, c.relacl
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'control_plane' AND c.relname = 'memory_procedure_embedding'
),

held (object, owner, acl) AS (
  SELECT r.name, r.owner, r.acl FROM relation AS r
  UNION ALL
  SELECT format('%s.%s', r.name, a.attname), r.owner, a.attacl
    FROM relation AS r JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
),

given (object, grantee, privilege) AS (
  SELECT h.object,
         CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END,
         acl.privilege_type || CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    FROM held AS h CROSS JOIN LATERAL aclexplode(h.acl) AS acl
   WHERE acl.grantee <> h.owner
),

wanted (object, grantee, privilege) AS (
  SELECT r.name || w.col, 'memory_app', w.privilege
    FROM relation AS r
   CROSS JOIN (VALUES
      ('', 'SELECT'),
      ('.superseded_at', 'UPDATE'),
      ('.procedure_id', 'INSERT'), ('.procedure_version_id', 'INSERT'), ('.embedding_model', 'INSERT'),
      ('.embedding_model_version', 'INSERT'), ('.embedding_dim', 'INSERT'), ('.content_hash', 'INSERT'), ('.embedding', 'INSERT')
    ) AS w (col, privilege)
)

SELECT 'grant' AS kind, coalesce(w.object, g.object) AS object,
       CASE WHEN g.object IS NULL THEN format('lacks %s for %s', w.privilege, w.grantee)
            ELSE format('has %s for %s, not wanted', g.privilege, g.grantee) END AS problem
  FROM wanted AS w
  FULL JOIN given AS g ON g.object = w.object AND g.grantee = w.grantee AND g.privilege = w.privilege
 WHERE w.object IS NULL OR g.object IS NULL;
