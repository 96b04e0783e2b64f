# A logical dump of the database, read to its end: a dump that is cut short still lists its contents whole.
# Where somebody holds a table for itself, the dump gives up and says which tables it wanted.
# Arguments: the container, bindir, the directory for dumps, the dump's name.
set -eu; umask 077
container=$1 bindir=$2 place=$3 name=$4 new=$3/.$4.new
mkdir -p "$place"
trap 'rm -f "$new"' EXIT
podman exec -i "$container" "$bindir/pg_dump" --lock-wait-timeout=10s -h /run/postgresql -U postgres -d memory -Fc > "$new"
podman exec -i "$container" "$bindir/pg_restore" -f /dev/null < "$new"
sync "$new"; mv "$new" "$place/$name"; sync "$place"
