# Make a schema-only copy of the live database ($1). drop-scratch.sh runs before this.
# The dump goes through a file: in a pipe, a pg_dump that fails would go unnoticed.
dump=$(mktemp)
trap 'rm -f "$dump"' EXIT
pg_dump --lock-wait-timeout=10s --schema-only --no-owner --file="$dump" "${1:-memory}"
# Left out: the extension, which the superuser creates below since the owner cannot, and who may call the server's own
# functions, which concerns the live database only.
sed -i -e '/^\(CREATE\|COMMENT ON\) EXTENSION /d; /^\(GRANT\|REVOKE\) .* ON FUNCTION pg_catalog\./d' \
  -e '1i SET ROLE memory_owner;' "$dump"
# shellcheck disable=SC2154  # the script before this one sets it
psql -X -q -v ON_ERROR_STOP=1 -v scratch="$scratch" -d postgres <<'SQL'
CREATE DATABASE :"scratch" TEMPLATE template0 OWNER memory_owner;
REVOKE ALL ON DATABASE :"scratch" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"scratch" TO memory_migrator;
\connect :"scratch"
SELECT 'CREATE EXTENSION vector SCHEMA public'
 WHERE EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'vector') \gexec
ALTER DEFAULT PRIVILEGES FOR ROLE memory_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
SQL
# As the owner, not as the superuser: a restore runs what the owner has written.
psql -X -q -v ON_ERROR_STOP=1 --single-transaction -U memory_migrator -d "$scratch" -f "$dump" >/dev/null
