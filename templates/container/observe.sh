# uses lib.sh
# One observation of a tenant: every section below, on stdout. Changes nothing. SQL for the server comes on stdin.
# Arguments: the bundle's directory, the tenant's directory, the container, the volume's marker.
root=$1 dir=$2 container=$3 marker=$4
# Read whole and at once: the sender must not meet a closed pipe where there is no server to ask.
sql=$(cat)
section() { printf '\n--- %s\n' "$1"; }
section machine; cat "$root/machine.json" 2>/dev/null
section spec; cat "$dir/spec.json" 2>/dev/null
section secrets; ls "$dir/secrets" 2>/dev/null
section files; (cd "$dir" 2>/dev/null && sha256sum etc/* tls/* passfile connection.env recycling.json receipts/.new 2>/dev/null)
section modes; (cd "$dir" 2>/dev/null && stat -c '%a %n' etc/* secrets/* tls/* passfile connection.env 2>/dev/null)
section units; sha256sum ".config/containers/systemd/pgberth-$container.container" \
  ".config/systemd/user/pgberth-$container.service" \
  ".config/systemd/user/default.target.wants/pgberth-$container.service" 2>/dev/null
section volumes
volumes=$(sed -n 's/^ *"volumes": "\(.*\)",*$/\1/p' "$root/machine.json" 2>/dev/null)
if [ -n "$volumes" ] && [ -d "$volumes" ]; then
  set -- "$volumes/$container-data-g"*
  [ -e "$1" ] || echo none
fi
section container
# Its first question makes podman create its database, for good: not before the account is configured.
podman_is_configured || { echo absent; exit 0; }
# Whole, without --format: podman 4 runs a template that has a JSON function in it over another structure than podman 5.
inspected=$(timeout -k 5 30 podman container inspect "$container" 2>&1)
code=$?
case $code,$inspected in
  0,*) printf '%s\n' "$inspected" ;;
  *'no such container'*) echo absent ;;
  *) printf 'unknown %s\n' "$inspected"; exit 0 ;;
esac
field() { printf '%s' "$inspected" | sed -n 's/^ *"'"$1"'": "\{0,1\}\([^",]*\).*/\1/p' | head -n 1; }
pid=$(field Pid)
[ "${pid:-0}" -gt 0 ] || exit 0
section process; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status"
section supervised; grep -qs "/pgberth-$container\.service/" "/proc/$pid/cgroup" && echo yes
# podman calls a container running even when its monitor or its port forwarder died: then no client can reach it.
listening() { awk -v a="0100007F:$1" '$4 == "0A" && $2 == a { found = 1 } END { exit !found }' /proc/net/tcp; }
port=$(printf %04X "$(field HostPort)")
section reachable; [ -d "/proc/$(field ConmonPid)" ] && { listening "$port" || { sleep 1; listening "$port"; }; } && echo yes
bindir=$(field pgberth.bindir)
[ -n "$bindir" ] || exit 0
section marker; timeout 10 nsenter -t "$pid" -U -m --preserve-credentials cat "$marker" 2>/dev/null
section server
# shellcheck disable=SC2329  # with_a_place calls ask, and ask calls it
psql() { timeout -k 5 30 "$@" "$bindir/psql" -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres -d memory -f - 2>&1; }
# nsenter costs a tenth of podman exec, which remains as the fallback.
# shellcheck disable=SC2329
ask() {
  answer=$(printf '%s' "$sql" | psql nsenter -t "$pid" -U -m --preserve-credentials) && return
  case $answer in *nsenter:*) answer=$(printf '%s' "$sql" | psql podman exec -i "$container") ;; *) return 1 ;; esac
}
with_a_place ask
printf '%s\n' "$answer"
exit 0
