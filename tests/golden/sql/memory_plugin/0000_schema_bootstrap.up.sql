-- 0000 schema of the memory plugin.
--
-- What:    creates the schema memory_plugin, owned by the owner role, entered by the app.
-- Locks:   none.
-- Down:    drops the schema, and refuses while anything is left in it.
-- Depends: nothing.
--
-- Deviations from the published 000_schema_bootstrap:
-- * CREATE SCHEMA instead of CREATE SCHEMA IF NOT EXISTS: a schema that somebody else owns must stop us.
-- * Stops where an older installation left its tables in public: after the search_path change their rows would be invisible.

DO $$
DECLARE
  leftover text;
BEGIN
  SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) INTO leftover
    FROM pg_catalog.pg_class AS c
   WHERE c.relnamespace = to_regnamespace('public') AND c.relkind IN ('r', 'p')
     AND c.relname IN ('memory_namespaces', 'memory_records');
  IF leftover IS NOT NULL THEN
    RAISE EXCEPTION 'tables of the memory plugin are in schema public: %', leftover
      USING HINT = 'Move their rows away and drop them first: the plugin would no longer see them.';
  END IF;
END $$;

CREATE SCHEMA memory_plugin AUTHORIZATION "memory_owner";

COMMENT ON SCHEMA memory_plugin IS 'Memory plugin v2: namespaces and the records in them.';

GRANT USAGE ON SCHEMA memory_plugin TO "memory_app";
