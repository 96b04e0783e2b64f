# Take a tenant's memory plugin away: it holds no data.
# Arguments: the container, its service, its directories.
set -u
name=$1 service=$2
shift 2
plain=.config/systemd/user/$service
if [ -e "$plain" ]; then
  systemctl --user stop "$service" 2>/dev/null
  rm -f "$plain" ".config/systemd/user/default.target.wants/$service"
  systemctl --user daemon-reload 2>/dev/null
fi
podman rm --force --ignore --time 10 "$name" >/dev/null || exit 1
rm -rf -- "$@"
