#!/bin/sh
# The server's entrypoint: one server per volume, and that volume its own tenant's, with the cluster that its marker names.
# Two servers on one volume would lose committed data without a word. Arguments: bindir, data directory, configuration
# directory, tenant, and what else the server is told on its command line.
set -eu
volume=/var/lib/postgresql marker=/var/lib/postgresql/pgberth.initialised
[ -s "$marker" ] || { echo "pgberth: this volume was never initialised; not starting" >&2; exit 76; }
if [ ! -r "$marker" ]; then
  echo "pgberth: this volume's marker belongs to user $(stat -c %u "$marker"), and cannot be read; not starting" >&2
  exit 76
fi
if ! grep -q '"tenant": "'"$4"'",' "$marker"; then
  echo "pgberth: this volume was initialised for another tenant than $4: $(cat "$marker"); not starting" >&2
  exit 76
fi
holds=$(LC_ALL=C "$1/pg_controldata" "$2" | sed -n 's/^Database system identifier: *//p')
if ! grep -q '"system_identifier": "'"${holds:-none}"'"' "$marker"; then
  echo "pgberth: this volume holds the cluster ${holds:-unknown}, and its marker is another's: $(cat "$marker"); not starting" >&2
  exit 76
fi
# The descriptor is inherited by the server and all its backends: the kernel frees the lock when the last one is gone.
exec 9>>"$volume/pgberth.lock"
if ! flock -n 9; then
  echo "pgberth: the volume is in use by container $(cat "$volume/pgberth.holder" 2>/dev/null || echo unknown); not starting" >&2
  exit 75
fi
hostname > "$volume/pgberth.holder"
bindir=$1 data=$2 etc=$3
shift 4
exec "$bindir/postgres" -D "$data" -c config_file="$etc/postgresql.conf" -c hba_file="$etc/pg_hba.conf" \
  -c ident_file="$etc/pg_ident.conf" "$@"
