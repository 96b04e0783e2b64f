# Let a running memory plugin read its password again: its process is replaced, and its container stays.
# Arguments: the tenant, the container, its port of loopback, seconds to wait, the mark that its URL is unread.
# health.sh stands before this script.
set -u
tenant=$1 name=$2 port=$3 seconds=$4 unread=$5
main=$(podman container inspect --format '{{.State.Pid}}' "$name") || exit 1
before=$(pgrep -P "$main")
podman kill --signal HUP "$name" >/dev/null || exit 1
deadline=$(($(date +%s) + seconds)) answer=
while [ "$(date +%s)" -lt "$deadline" ]; do
  # Its own words only count once they are the new process's.
  if [ "$(pgrep -P "$main")" != "$before" ]; then
    answer=$(health "$port")
    case $answer in 'HTTP/'*' 200'*) rm -f -- "$unread"; exit 0 ;; esac
  fi
  sleep 0.05
done
printf '%s\n' "$tenant: its memory plugin is not healthy $seconds s after it got its new password: ${answer:-no answer}" >&2
printf 'HINT: run deploy/provision.py --limit %s, which creates it again; runbooks/sidecar-unhealthy.md\n' "$tenant" >&2
exit 1
