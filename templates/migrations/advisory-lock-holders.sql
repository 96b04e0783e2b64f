-- The sessions of this database that hold an advisory lock, by the two halves of its key.
SELECT l.pid, a.application_name, a.backend_start::timestamptz(0)::text
  FROM pg_catalog.pg_locks AS l
  JOIN pg_catalog.pg_stat_activity AS a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted
   AND l.classid::bigint = %s AND l.objid::bigint = %s AND l.objsubid = 2
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
