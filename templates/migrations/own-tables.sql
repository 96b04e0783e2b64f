-- Tables and views that are neither the server's nor the ledger's.
SELECT c.oid::bigint, c.oid::regclass::text
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm', 'v')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'memory_ledger')
