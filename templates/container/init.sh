# Make a new volume's database cluster. Runs once, in a throwaway container on that volume; the marker comes last,
# so that a volume without it never held data. Arguments: bindir, data directory, marker, tenant, generation.
set -eu
bindir=$1 data=$2 marker=$3 tenant=$4 generation=$5
umask 077
[ ! -e "$marker" ] || { echo "$tenant: this volume has been initialised: $(head -c 300 "$marker")" >&2; exit 1; }
# A volume whose removal a kill has cut short is new to podman, and still has in it what never was a cluster.
rm -rf "$data"
mkdir -p "$(dirname "$data")"
major=$("$bindir/postgres" --version | sed 's/.* \([0-9]*\).*/\1/')
# The builtin locale (PostgreSQL 17 on) does not change under a volume when the image's C library does.
# syncfs (from there on, too) is one wait for the disk in the place of a thousand.
if [ "$major" -ge 17 ]; then newer='--locale-provider=builtin --builtin-locale=C.UTF-8 --sync-method=syncfs'; else newer=; fi
# huge_pages: `try` dies with SIGBUS where pages exist but the cgroup allows none, and initdb reads no file of ours.
# shellcheck disable=SC2086  # three options, or none
"$bindir/initdb" --pgdata="$data" --encoding=UTF8 --locale=C.UTF-8 $newer --data-checksums \
  --auth-local=peer --auth-host=scram-sha-256 --set huge_pages=off --no-instructions >/dev/null
system=$("$bindir/pg_controldata" "$data" | sed -n 's/^Database system identifier: *//p')
[ -n "$system" ] || { echo "$tenant: pg_controldata does not tell the system identifier" >&2; exit 1; }
printf '{"tenant": "%s", "generation": %s, "major": %s, "system_identifier": "%s"}\n' \
  "$tenant" "$generation" "$major" "$system" > "$marker.new"
sync "$marker.new"
mv "$marker.new" "$marker"
sync "$(dirname "$marker")"
