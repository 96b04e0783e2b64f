-- The other sessions of this server as a JSON array: who they are, what they lock, and how many wait for them. Of a
-- statement only the words before its first constant or comment, since what follows can be a secret. For a superuser in the
-- tenant's database: locks on tables of other databases are left out, and of advisory locks all but the runner's.
WITH held AS (
  SELECT pid, count(*) AS locks FROM pg_catalog.pg_locks WHERE granted GROUP BY pid
),
waiting AS (
  SELECT pg_catalog.pg_blocking_pids(pid) AS blockers FROM pg_catalog.pg_locks WHERE NOT granted
),
lock AS (
  SELECT l.pid, l.mode, coalesce(c.oid::regclass::text, format('advisory lock %s/%s', l.classid, l.objid)) AS object,
         row_number() OVER (PARTITION BY l.pid ORDER BY length(l.mode) DESC, l.relation) AS place
    FROM pg_catalog.pg_locks AS l
    LEFT JOIN pg_catalog.pg_class AS c ON l.locktype = 'relation' AND c.oid = l.relation AND c.relkind IN ('r', 'p', 'm', 'S')
     AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
   WHERE l.granted AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
     AND (c.oid IS NOT NULL OR (l.locktype = 'advisory' AND l.classid = 1885823602))
)
SELECT coalesce(jsonb_agg(jsonb_build_object(
         'pid', a.pid,
         'role', coalesce(a.usename, ''),
         'client', coalesce(host(a.client_addr), ''),
         'application', coalesce(a.application_name, ''),
         'state', coalesce(a.state, 'starting'),
         'since', coalesce(a.xact_start, a.backend_start)::timestamptz(0)::text,
         'seconds', extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.backend_start))::float8,
         'statement', left(regexp_replace(regexp_replace(coalesce(a.query, ''), '(''|\$|--|/\*).*', '…'), '\s+', ' ', 'g'), 60),
         'locks', coalesce(mine.locks, '[]'),
         'held', coalesce(held.locks, 0),
         'blocks', (SELECT count(*) FROM waiting AS w WHERE a.pid = ANY (w.blockers))) ORDER BY a.pid), '[]')
  FROM pg_catalog.pg_stat_activity AS a
  LEFT JOIN held USING (pid)
  LEFT JOIN LATERAL (
      SELECT jsonb_agg(jsonb_build_object('mode', l.mode, 'object', l.object) ORDER BY l.object, l.mode) AS locks
        FROM lock AS l WHERE l.pid = a.pid AND l.place <= 20
    ) AS mine ON true
 WHERE a.pid <> pg_catalog.pg_backend_pid() AND (a.backend_type = 'client backend' OR mine.locks IS NOT NULL)
