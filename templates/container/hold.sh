# Hold a tenant's run lock for as long as standard input stays open: the operator's end of it closes when he ends,
# however he ends. Arguments: the locks' directory, the tenant, who holds it, seconds to wait.
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
  exec cat >/dev/null' "$run" "$1/$2" "$3"
case $? in
  75) echo "busy $(cat "$run.who" 2>/dev/null || echo unknown)" ;;
  76) echo orphan ;;
esac
