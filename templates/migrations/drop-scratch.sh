# Drop the schema-only copy, its sessions included.
set -eu
psql -X -q -v ON_ERROR_STOP=1 -d postgres -c "DROP DATABASE IF EXISTS $scratch WITH (FORCE)"
