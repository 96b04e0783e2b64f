-- How many triggers of these names on these tables are ENABLE ALWAYS.
SELECT count(*)
  FROM unnest(%s::text[]) AS desired (name)
  JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = pg_catalog.to_regclass(desired.name)
 WHERE t.tgenabled = 'A' AND t.tgname = ANY (%s)
