-- 0000 is in order when this returns no row.

SELECT 'schema' AS kind, 'knowledge' AS object,
       CASE WHEN n.oid IS NULL THEN 'is missing'
            ELSE format('is owned by %s, wanted %s', pg_get_userbyid(n.nspowner), 'memory_owner') END AS problem
  FROM (VALUES ('knowledge')) AS wanted (name)
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.name
 WHERE n.oid IS NULL OR pg_get_userbyid(n.nspowner) <> 'memory_owner';
