# Hold a tenant's run lock for as long as input arrives. The operator's end of standard input closes when that process
# ends, in whatever way, and a connection that has died silently brings no more input.
# Arguments: the locks' directory, the tenant, who holds it, seconds to wait, seconds of silence.
# Says one line: held, busy WHO, or orphan.
set -u
umask 077
mkdir -p "$1" || exit 1
run=$1/$2.run
# The command lock in passing: what a killed operator left running must have ended, too.
# shellcheck disable=SC2016  # a script of its own, under the lock
flock -w "$4" -E 75 "$run" /bin/sh -c '
  flock -w 60 -E 76 "$1" true || exit $?
  printf "%s\n" "$2" > "$0.who"
  echo held
  while [ -n "$(timeout "$3" head -c 1)" ]; do :; done' "$run" "$1/$2" "$3" "$5"
case $? in
  75) echo "busy $(cat "$run.who" 2>/dev/null || echo unknown)" ;;
  76) echo orphan ;;
esac
