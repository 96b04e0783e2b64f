-- The table locks that this session holds.
SELECT relation::bigint, mode
  FROM pg_catalog.pg_locks
 WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted
