# Take a tenant's memory plugin away: it holds no data.
# Arguments: the container, what the names of secrets of an earlier release begin with, its service, its directories.
set -u
name=$1 own=$2 service=$3
shift 3
plain=.config/systemd/user/$service
if [ -e "$plain" ]; then
  systemctl --user stop "$service" 2>/dev/null
  rm -f "$plain" ".config/systemd/user/default.target.wants/$service"
  systemctl --user daemon-reload 2>/dev/null
fi
podman rm --force --ignore --time 10 "$name" >/dev/null || exit 1
for former in $(podman secret ls --format '{{.Name}}'); do
  case $former in "$own"*) podman secret rm "$former" >/dev/null || exit 1 ;; esac
done
rm -rf -- "$@"
