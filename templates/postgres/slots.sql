-- The connections that everybody, the database and each role with a limit may have, and those that they have, as a JSON array.
-- Neither the superuser's reserve nor the session that asks counts.
WITH client AS (
  SELECT usesysid, datid FROM pg_catalog.pg_stat_activity
   WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()
)
SELECT jsonb_agg(jsonb_build_object('name', name, 'role', role, 'used', used, 'limit', most) ORDER BY name)
  FROM (
    SELECT 'the server' AS name, '' AS role, (SELECT count(*) FROM client) AS used,
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true)::int, 0) AS most
    UNION ALL
    SELECT r.rolname, r.rolname, (SELECT count(*) FROM client WHERE usesysid = r.oid), r.rolconnlimit
      FROM pg_catalog.pg_roles AS r
     WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolconnlimit >= 0
    UNION ALL
    SELECT 'database ' || d.datname, '', (SELECT count(*) FROM client WHERE datid = d.oid), d.datconnlimit
      FROM pg_catalog.pg_database AS d
     WHERE d.datname = current_database() AND d.datconnlimit >= 0
  ) AS slots
