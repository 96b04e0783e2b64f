-- Who owns the schema of the ledger, and whether the ledger is in it. to_regclass would need a right on the schema.
SELECT pg_catalog.pg_get_userbyid(n.nspowner),
       EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = 'head')
  FROM pg_catalog.pg_namespace AS n
 WHERE n.nspname = 'memory_ledger'
