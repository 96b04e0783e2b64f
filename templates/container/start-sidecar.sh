# uses lib.sh
# Bring a tenant's memory plugin up, whatever was there before, and wait until it is healthy.
# Arguments: the tenant, the container, its secret, what the names of the tenant's secrets begin with, its port of loopback,
# seconds to wait, whether it is required, its service, the unit's file (empty where podman alone supervises), then the
# arguments of podman run. On stdin: a line with the secret, then the unit's text. Runs in the account's home.
set -u
tenant=$1 name=$2 secret=$3 own=$4 port=$5 seconds=$6 required=$7 service=$8 file=$9
shift 9
IFS= read -r url
unit=$(cat)
plain=.config/systemd/user/$service
wanted=.config/systemd/user/default.target.wants/$service

if [ -e "$plain" ]; then
  systemctl --user stop "$service" 2>/dev/null
  systemctl --user reset-failed "$service" 2>/dev/null
fi
podman rm --force --ignore --time 10 "$name" >/dev/null || exit 1
kill_orphaned_monitor "$name"
podman secret inspect "$secret" >/dev/null 2>&1 || printf '%s\n' "$url" | podman secret create "$secret" - >/dev/null || exit 1
for former in $(podman secret ls --format '{{.Name}}'); do
  case $former in "$secret") ;; "$own"*) podman secret rm "$former" >/dev/null ;; esac
done
if [ -n "$file" ]; then
  mkdir -p "${wanted%/*}" && printf '%s\n' "$unit" | write_file "$file" || exit 1
  ln -sf "../$service" "$wanted" && systemctl --user daemon-reload && systemctl --user start "$service" || exit 1
else
  rm -f "$plain" "$wanted"
  run_container "$@" >/dev/null || exit 1
fi

deadline=$(($(date +%s) + seconds))
while :; do
  answer=$(health "$port")
  case $answer in 'HTTP/'*' 200'*) exit 0 ;; esac
  [ "$(date +%s)" -lt "$deadline" ] || break
  sleep 1
done
[ "$required" = yes ] || exit 0
say "$tenant: its memory plugin is not healthy after $seconds s: ${answer:-no answer}; its last words:"
podman logs --tail 5 "$name" >&2
say "HINT: the server and its data are untouched; runbooks/sidecar-unhealthy.md"
exit 1
