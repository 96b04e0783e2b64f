# Take a tenant's container away. The server ends by itself within the seconds it is given, and is killed otherwise.
# Arguments: container, seconds. Runs in the account's home.
set -u
name=$1 seconds=$2
service=pgberth-$name.service unit=
if [ -e ".config/containers/systemd/pgberth-$name.container" ] || [ -e ".config/systemd/user/$service" ]; then
  # shellcheck disable=SC2034  # for remove-unit.sh
  unit=yes
  # By its unit, which would start it again otherwise; a unit being stopped starts nothing, whatever becomes of it.
  timeout "$seconds" systemctl --user stop "$service" 2>/dev/null || podman kill --signal KILL "$name" >/dev/null 2>&1
  systemctl --user stop "$service" 2>/dev/null
  systemctl --user reset-failed "$service" 2>/dev/null
fi
! podman container exists "$name" || podman rm --force --time "$seconds" "$name" >/dev/null || exit 1
