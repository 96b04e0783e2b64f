-- An empty database with pgvector, like a tenant's before its first migration. For psql, as the superuser on the socket.
SET search_path = pg_catalog, pg_temp;
DROP DATABASE IF EXISTS memory_fresh WITH (FORCE);
CREATE DATABASE memory_fresh TEMPLATE template0 OWNER memory_owner;
REVOKE ALL ON DATABASE memory_fresh FROM PUBLIC;
GRANT CONNECT ON DATABASE memory_fresh TO memory_migrator;
\connect memory_fresh
CREATE EXTENSION vector SCHEMA public;
ALTER SCHEMA public OWNER TO postgres;
ALTER DEFAULT PRIVILEGES FOR ROLE memory_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
