# Replace the running container: the old one is stopped, then start.sh's arguments are used. One command for both: killing
# its operator in between does not leave the tenant without a container.
# Arguments: the directory of podman's volumes, seconds to stop in, then the arguments of start.sh. Followed by start.sh.
# shellcheck disable=SC2034  # for the call of stop.sh that follows
volumes=$1 stop_seconds=$2
shift 2
# Nothing is stopped for a container that could not start.
[ -d "$volumes/$5/_data" ] || podman volume exists "$5" || {
  printf '%s: its volume %s is gone\nHINT: nothing was stopped; runbooks/volume-is-gone.md\n' "$1" "$5" >&2
  exit 1
}
