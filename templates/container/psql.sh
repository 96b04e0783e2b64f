# uses lib.sh
# Run what comes on stdin through the server's own psql, as the superuser over the socket.
# Arguments: the container, the server's process, 0 where it is not known, bindir, the database.
# A lock that somebody holds for ever ends what runs here: a command must not wait for it as long as it may run.
# Into the container's namespaces directly: a tenth of the cost of podman exec, which stays as the way round.
container=$1 pid=$2 bindir=$3 database=$4
export PGOPTIONS='-c lock_timeout=10s'
sql=$(cat; echo .)
# shellcheck disable=SC2329  # with_a_place calls inside, and inside calls it
ask() { printf '%s' "${sql%.}" | "$@" "$bindir/psql" -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres -d "$database" -f - 2>&1; }
# shellcheck disable=SC2329
inside() {
  answer=nsenter: code=1
  if [ "$pid" -gt 0 ]; then answer=$(ask nsenter -t "$pid" -U -m --preserve-credentials); code=$?; fi
  case $code,$answer in *,nsenter:*) [ "$code" -eq 0 ] || { answer=$(ask podman exec -i --env PGOPTIONS "$container"); code=$?; } ;; esac
  return "$code"
}
with_a_place inside; code=$?
[ "$code" -eq 0 ] && { [ -z "$answer" ] || printf '%s\n' "$answer"; exit 0; }
printf '%s\n' "$answer" >&2
exit "$code"
