-- Let the server read its files again. pg_reload_conf answers "true" to a file that it cannot read and keeps the old rules:
-- so the rules are checked first.
DO $$ DECLARE wrong text; BEGIN
  SELECT string_agg(format('line %s: %s', line_number, error), '; ') INTO wrong
    FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL;
  IF wrong IS NOT NULL THEN RAISE EXCEPTION 'pg_hba.conf is not understood: %', wrong; END IF;
END $$;
SELECT pg_catalog.pg_reload_conf() \g /dev/null
