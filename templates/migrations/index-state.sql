-- Whether the index of that schema and name is usable, and its table; NULL for both where the name is not an index.
SELECT i.indisvalid AND i.indisready, t.relname
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
  LEFT JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
 WHERE n.nspname = %s AND c.relname = %s
