# Make a new volume's database cluster. Runs once, in a throwaway container on that volume.
# Arguments: bindir, data directory, marker, tenant, generation.
# A note comes first and says that the volume is being initialised; the last step turns the note into the marker, so that a
# volume never has both. What was begun may be made again as long as the note is there; see unmarked_data in lib.sh.
set -eu
bindir=$1 data=$2 marker=$3 tenant=$4 generation=$5
volume=$(dirname "$marker") note=$(dirname "$marker")/pgberth.initialising
umask 077
[ ! -e "$marker" ] || { echo "$tenant: this volume has been initialised: $(head -c 300 "$marker")" >&2; exit 1; }
if [ -f "$note" ] && [ -s "$note" ]; then
  # Never a cluster that a server has been started on.
  [ ! -e "$data/postmaster.opts" ] || { echo "$tenant: a server was started on what this volume holds" >&2; exit 1; }
  rm -rf "$data"
else
  others=$(find "$volume" -mindepth 1 ! \( -type f -name 'pgberth.initialising*' \) | head -n 1)
  [ -z "$others" ] || { echo "$tenant: this volume is not empty: $others" >&2; exit 1; }
fi
write_note() { printf '%s\n' "$1" > "$note.new" && sync "$note.new" && mv "$note.new" "$note" && sync "$volume"; }
write_note "{\"tenant\": \"$tenant\", \"generation\": $generation}"
mkdir -p "$(dirname "$data")"
major=$("$bindir/postgres" --version | sed 's/.* \([0-9]*\).*/\1/')
# The builtin locale (PostgreSQL 17 on) does not change under a volume when the image's C library does.
# syncfs (from there on, too) is one wait for the disk in the place of a thousand.
if [ "$major" -ge 17 ]; then newer='--locale-provider=builtin --builtin-locale=C.UTF-8 --sync-method=syncfs'; else newer=; fi
# huge_pages: `try` dies with SIGBUS where pages exist but the cgroup allows none, and initdb reads no file of ours.
# shellcheck disable=SC2086  # three options, or none
"$bindir/initdb" --pgdata="$data" --encoding=UTF8 --locale=C.UTF-8 $newer --data-checksums \
  --auth-local=peer --auth-host=scram-sha-256 --set huge_pages=off --no-instructions >/dev/null
system=$(LC_ALL=C "$bindir/pg_controldata" "$data" | sed -n 's/^Database system identifier: *//p')
[ -n "$system" ] || { echo "$tenant: pg_controldata does not tell the system identifier" >&2; exit 1; }
write_note "$(printf '{"tenant": "%s", "generation": %s, "major": %s, "system_identifier": "%s"}' \
  "$tenant" "$generation" "$major" "$system")"
mv "$note" "$marker"
sync "$volume"
