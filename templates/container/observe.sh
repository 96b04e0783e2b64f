# uses lib.sh
# One observation of a tenant: every section below, on stdout. Changes nothing. SQL for the server comes on stdin.
# Arguments: the bundle's directory, the tenant's directory, the container, the volume's marker.
root=$1 dir=$2 container=$3 marker=$4
# Read whole and at once: the sender must not meet a closed pipe where there is no server to ask.
sql=$(cat)
section() { printf '\n--- %s\n' "$1"; }
files() {
  section machine; cat "$root/machine.json" 2>/dev/null
  section spec; cat "$dir/spec.json" 2>/dev/null
  section secrets; ls "$dir/secrets" 2>/dev/null
  section files; (cd "$dir" 2>/dev/null && sha256sum etc/* tls/* sidecar-secrets/* passfile connection.env recycling.json receipts/.new 2>/dev/null)
  section modes; (cd "$dir" 2>/dev/null && stat -c '%a %n' etc/* secrets/* tls/* passfile connection.env 2>/dev/null)
  section units; sha256sum ".config/containers/systemd/pgberth-$container.container" \
    ".config/systemd/user/pgberth-$container.service" \
    ".config/systemd/user/default.target.wants/pgberth-$container.service" 2>/dev/null
  section disk; df -Pk . 2>/dev/null | awk 'NR == 2 { print $4 }'
  section volumes
  volumes=$(sed -n 's/^ *"volumes": "\(.*\)",*$/\1/p' "$root/machine.json" 2>/dev/null)
  if [ -n "$volumes" ] && [ -d "$volumes" ]; then
    names=$(find "$volumes" -maxdepth 1 -name "$container-data-g*" | sed 's,.*/,,' | grep -x "$container-data-g[0-9][0-9]*" | sort -V)
    printf '%s\n' "${names:-none}"
  fi
}
# The files are read while podman, which takes longer, describes the container.
files &
# Its first question makes podman create its database, for good: not before the account is configured.
podman_is_configured || { wait; section container; echo absent; exit 0; }
# Whole, without --format: podman 4 runs a template that has a JSON function in it over another structure than podman 5.
inspected=$(timeout -k 5 30 podman container inspect "$container" 2>&1)
code=$?
wait
section container
case $code,$inspected in
  0,*) printf '%s\n' "$inspected" | sed -n '/^\[/,/^\]/p' ;; # without podman's warnings
  *'no such container'*) echo absent ;;
  *) printf 'unknown %s\n' "$inspected"; exit 0 ;;
esac
# The first line of each name counts.
pid='' monitor='' port='' bindir=''
while IFS=' ' read -r name value; do
  case $name in
    Pid) pid=${pid:-$value} ;;
    ConmonPid) monitor=${monitor:-$value} ;;
    HostPort) port=${port:-$value} ;;
    pgberth.bindir) bindir=${bindir:-$value} ;;
  esac
done <<END
$(printf '%s\n' "$inspected" | sed -nE 's/^ *"(Pid|ConmonPid|HostPort|pgberth\.bindir)": "?([^",]*).*/\1 \2/p')
END
[ "${pid:-0}" -gt 0 ] || exit 0
# podman calls a container running even when its server, its monitor or its port forwarder died: then no client can
# reach it. A process that died and is waited for by nobody has a directory below /proc, and no command line.
alive() { [ -n "$(tr -d '\0' 2>/dev/null < "/proc/$1/cmdline")" ]; }
alive "$pid" || { section unreachable; echo "its server's process is dead"; exit 0; }
listening() { awk -v a="0100007F:$1" '$4 == "0A" && $2 == a { found = 1 } END { exit !found }' /proc/net/tcp; }
# read_inside FILE: a file as the container sees it. nsenter costs a tenth of podman exec, which remains as the fallback.
read_inside() {
  timeout 10 nsenter -t "$pid" -U -m --preserve-credentials cat "$1" 2>/dev/null || timeout 10 podman exec "$container" cat "$1" 2>/dev/null
}
process() {
  section process; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status"
  section supervised; grep -qs "/pgberth-$container\.service/" "/proc/$pid/cgroup" && echo yes
  hex=$(printf %04X "$port")
  section unreachable
  if ! alive "$monitor"; then echo "its monitor, conmon, is dead"
  elif ! listening "$hex" && sleep 1 && ! listening "$hex"; then echo "nothing listens there: podman's port forwarder is dead"; fi
  [ -n "$bindir" ] || return
  section marker; marked=$(read_inside "$marker"); printf '%s\n' "$marked"
  major=$(printf '%s' "$marked" | sed -n 's/.*"major": *\([0-9]*\).*/\1/p')
  section cluster; read_inside "${marker%/*}/$major/data/global/pg_control" | od -An -v -tu8 -N8 | tr -d ' '
}
process &
[ -n "$bindir" ] || { wait; exit 0; }
# shellcheck disable=SC2329  # with_a_place calls ask, and ask calls it
psql() { timeout -k 5 30 "$@" "$bindir/psql" -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres -d memory -f - 2>&1; }
# nsenter costs a tenth of podman exec, which remains as the fallback.
# shellcheck disable=SC2329
ask() {
  answer=$(printf '%s' "$sql" | psql nsenter -t "$pid" -U -m --preserve-credentials) && return
  case $answer in nsenter:*) answer=$(printf '%s' "$sql" | psql podman exec -i "$container") ;; *) return 1 ;; esac
}
# Without memory for locks the server lets nobody in to be asked. Then the process table says who is in a transaction, in the
# words that the server gives its processes. A client chooses some of them before it logs in, so other forms are left out.
in_transaction() {
  grep -ls "^PPid:[[:space:]]*$pid\$" /proc/[0-9]*/status | while IFS= read -r status; do
    inside=$(awk '/^NSpid:/ { print $NF }' "$status" 2>/dev/null)
    tr '\0' ' ' < "${status%status}cmdline" 2>/dev/null | tr -c '[:print:]' '?' |
      sed -nE "s/^postgres: (memory_[a-z_]+) [a-z_]+ ([0-9a-f.:]+\([0-9]+\)|\[local\]) (idle in transaction( \(aborted\))?|[A-Z][A-Z ]*) *\$/pid $inside (\1, \2, \3)/p"
  done | sed 's/ *)$/)/' | head -n 5 | paste -sd ';' - | sed 's/;/; /g'
}
case $(sed -n 's/^State:[[:blank:]]*\(.\).*/\1/p' "/proc/$pid/status") in
  T) answer="a signal has stopped its process $pid: kill -CONT $pid lets it go on" ;;
  *) with_a_place ask ;;
esac
case $answer in *'FATAL:  out of shared memory'*) answer="$answer
DETAIL:  in a transaction are $(in_transaction)" ;; esac
wait
section server
printf '%s\n' "$answer"
exit 0
