-- The other sessions that hold a lock on a table or sequence of a schema.
SELECT DISTINCT l.pid, a.usename, a.application_name, l.relation::regclass::text, l.mode
  FROM pg_catalog.pg_locks AS l
  JOIN pg_catalog.pg_stat_activity AS a USING (pid)
  JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
 WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid() AND c.relkind IN ('r', 'p', 'm', 'S')
   AND c.relnamespace = pg_catalog.to_regnamespace(%s)::oid
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
 ORDER BY 1, 4, 5
