# uses lib.sh
# Replace the running container: the old one is stopped, then start.sh's arguments are used. One command for both: killing
# its operator in between does not leave the tenant without a container.
# Arguments: seconds to stop in, then the arguments of start.sh. Followed by start.sh.
# shellcheck disable=SC2034  # for the call of stop.sh that follows
stop_seconds=$1
shift
# Nothing is stopped for a container that could not start.
place=$(place_of_volume "$5") || {
  say "$1: its volume $5 is gone"
  say "HINT: nothing was stopped; runbooks/volume-is-gone.md"
  exit 1
}
why=$(foreign_data "$1" "$5" "$place")
if [ -n "$why" ]; then
  say "$1: its volume $5 $why"
  say "HINT: nothing was stopped; runbooks/foreign-volume.md"
  exit 1
fi
