-- 0000 schema of the knowledge store.
--
-- What:    creates the schema knowledge, owned by the owner role, entered by the app.
-- Locks:   none.
-- Down:    drops the schema, and refuses while anything is left in it.
-- Depends: nothing.

CREATE SCHEMA knowledge AUTHORIZATION "memory_owner";

COMMENT ON SCHEMA knowledge IS 'Knowledge store: nodes, their vectors, schedules, edges, reviews and owners.';

GRANT USAGE ON SCHEMA knowledge TO "memory_app";
