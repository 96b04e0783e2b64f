# uses lib.sh
# Bring a tenant's memory plugin up, whatever was there before, and wait until it is healthy.
# Arguments: the tenant, the container, the mark that its URL is unread, its port of loopback, seconds to wait, whether it
# must be healthy, its service, the unit's file (empty where podman alone supervises), the directory of its OCI hooks
# (empty for none), its image, the program that the image runs, then the arguments of podman run. On stdin: the unit's
# text. Runs in the account's home. health.sh stands before this script.
set -u
tenant=$1 name=$2 unread=$3 port=$4 seconds=$5 required=$6 service=$7 file=$8 directory=$9
shift 9
image=$1 program=$2
shift 2
unit=$(cat)
# fail FACT [COMMAND]: end this run where the plugin is required; COMMAND prints more about it. Another one is found
# degraded by the next observation.
fail() {
  [ "$required" = yes ] || exit 0
  say "$1"
  [ -z "${2-}" ] || "$2" >&2
  say "HINT: the server and its data are untouched; runbooks/sidecar-unhealthy.md"
  exit 1
}
last_words() { podman logs --tail 5 "$name"; }
last_lines() { systemctl --user status --no-pager --lines=5 "$service" 2>&1 | tail -n 5; }
plain=.config/systemd/user/$service
wanted=.config/systemd/user/default.target.wants/$service

# What its entrypoint needs of the image, before anything is taken away. The exit code tells: podman may print warnings.
# shellcheck disable=SC2016  # the image's own shell expands it
words=$(run_container --rm --pull=never --network=none --cap-drop=all --read-only --entrypoint=/bin/sh "$image" \
  -c 'command -v "$1" >/dev/null || exit 64' sh "$program" 2>&1)
code=$?
case $code in
  0) ;;
  64) say "$tenant: image $image of its memory plugin has no program $program, which it is to run" ;;
  *) say "$tenant: image $image of its memory plugin has no /bin/sh that runs, which its entrypoint needs: $words" ;;
esac
[ "$code" -eq 0 ] || {
  say "HINT: nothing was stopped or started; give it an image with a shell and the plugin; runbooks/sidecar-unhealthy.md"
  exit 1
}

[ -z "$directory" ] || PATH=$PATH:/usr/sbin:/sbin command -v ip >/dev/null || {
  say "$tenant: there is no program ip here, which keeps its memory plugin from the rest of the machine's loopback"
  say "HINT: nothing was stopped or started; install iproute2; runbooks/sidecar-unhealthy.md"
  exit 1
}

if [ -e "$plain" ]; then
  systemctl --user stop "$service" 2>/dev/null
  systemctl --user reset-failed "$service" 2>/dev/null
fi
podman rm --force --ignore --time 10 "$name" >/dev/null ||
  fail "$tenant: the former container of its memory plugin cannot be removed"
kill_orphaned_monitor "$name"
if [ -n "$file" ]; then
  { mkdir -p "${wanted%/*}" && printf '%s\n' "$unit" | write_file "$file" && ln -sf "../$service" "$wanted"; } ||
    fail "$tenant: the unit $file of its memory plugin cannot be written"
  { systemctl --user daemon-reload && systemctl --user start "$service" 2>/dev/null; } ||
    fail "$tenant: the unit $service of its memory plugin did not start:" last_lines
else
  rm -f "$plain" "$wanted"
  # shellcheck disable=SC2034  # for run_container
  hooks=$directory
  run_container "$@" >/dev/null ||
    fail "$tenant: podman does not start its memory plugin"
fi
rm -f -- "$unread" # what it connects with was on the disk before it began

deadline=$(($(date +%s) + seconds))
while :; do
  answer=$(health "$port")
  case $answer in 'HTTP/'*' 200'*) break ;; esac
  if [ "$(date +%s)" -ge "$deadline" ]; then
    fail "$tenant: its memory plugin is not healthy after $seconds s: ${answer:-no answer}; its last words:" last_words
  fi
  sleep 0.1
done
