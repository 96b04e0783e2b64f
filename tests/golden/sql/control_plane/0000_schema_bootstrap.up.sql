-- 0000 schema of the memory control plane.
--
-- What:    creates the schema control_plane, owned by the owner role, entered by the app.
-- Locks:   none.
-- Down:    drops the schema, and refuses while anything is left in it.
-- Depends: nothing. No extension: this component applies on a PostgreSQL 16 without pgvector.

CREATE SCHEMA control_plane AUTHORIZATION "memory_owner";

COMMENT ON SCHEMA control_plane
  IS 'Memory control plane: task runs, their checkpoints, and procedures learnt from them.';

GRANT USAGE ON SCHEMA control_plane TO "memory_app";
