# Drop the schema-only copy, its sessions included.
set -eu
# shellcheck disable=SC2154  # the script before this one sets it
psql -X -q -v ON_ERROR_STOP=1 -d postgres -c "DROP DATABASE IF EXISTS $scratch WITH (FORCE)"
