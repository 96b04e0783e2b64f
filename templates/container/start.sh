# Bring a tenant's server up, whatever a killed deploy left behind, and wait until it answers on its socket.
# Arguments: container, bindir, port in hex, seconds to wait, log to keep, then the arguments of podman run.
# Where the account's systemd supervises, the text of the container's unit comes on stdin; nothing otherwise.
set -u
name=$1 bindir=$2 port=$3 seconds=$4 kept=$5
shift 5
unit=$(cat)
say() { printf '%s\n' "$*" >&2; }

# A port taken by a stranger makes podman leave a container that never started: look first.
listener=$(awk -v p=":$port" '$4 == "0A" && substr($2, length($2) - 4) == p { print $8, $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
if [ -n "$listener" ]; then
  owner=$(for fd in /proc/[0-9]*/fd/*; do
    [ "$(readlink "$fd" 2>/dev/null)" = "socket:[${listener#* }]" ] || continue
    pid=${fd#/proc/}; pid=${pid%%/*}
    printf 'pid %s (%s)' "$pid" "$(cat "/proc/$pid/comm")"; break
  done)
  say "$name: port 127.0.0.1:$(printf %d "0x$port") is taken by ${owner:-a process of uid ${listener% *}}"
  say "HINT: stop it, or give the tenant another port in the inventory: runbooks/port-already-taken.md"
  exit 1
fi

# Nothing is taken away that cannot be put back.
for image in "$@"; do
  case $image in sha256:*) podman image exists "$image" && continue ;; *) continue ;; esac
  say "$name: image $image is not in podman's store any more"
  say "HINT: run the deploy without --limit; it builds the image anew"
  exit 1
done

# A unit that is failing and trying again would race with us.
if [ -n "$unit" ]; then
  systemctl --user stop "$name.service" 2>/dev/null
  systemctl --user reset-failed "$name.service" 2>/dev/null
fi
# Made anew, never started again: podman 4 gives a container's tmpfs another mode at its second start, so that the
# server cannot make its socket. What the old one said last is kept.
if podman container exists "$name"; then
  podman logs --tail 500 "$name" > "$kept" 2>&1
  podman rm --force --time 60 "$name" >/dev/null 2>&1
fi
# podman 4 forgets a container killed while it was being created, but its monitor and runtime live on.
for pid in $(pgrep -u "$(id -u)" -f -- "^[^ ]*conmon .* -n $name "); do
  pkill -KILL -P "$pid"; kill -KILL "$pid"
done 2>/dev/null
if [ -n "$unit" ]; then
  units=$HOME/.config/containers/systemd
  mkdir -p "$units"
  printf '%s\n' "$unit" > "$units/.$name.new" && mv -f "$units/.$name.new" "$units/$name.container"
  systemctl --user daemon-reload && systemctl --user start "$name.service" || exit 1
else
  # What machine work found out: a plain user's own configuration may name another, and is not ours to edit.
  runtime=$(sed -n 's/^ *"runtime": "\([a-z]*\)".*/\1/p' "$HOME/.local/share/pgberth/machine.json" 2>/dev/null)
  podman ${runtime:+--runtime "$runtime"} run "$@" >/dev/null || exit 1
fi

deadline=$(($(date +%s) + seconds))
answer=
while [ "$(date +%s)" -lt "$deadline" ]; do
  # shellcheck disable=SC2046  # three words
  set -- $(podman container inspect --format '{{.State.Pid}} {{.State.Status}} {{.State.ExitCode}}' "$name" 2>/dev/null)
  if [ "${2:-absent}" != running ]; then
    say "$name: the server ended with exit code ${3:-?} before it answered; its last words:"
    podman logs --tail 5 "$name" >&2
    say "HINT: no data was touched; runbooks/server-does-not-start.md"
    exit 1
  fi
  tries=0
  # Twenty looks at the socket for each look at the container: inspect is the dear one.
  while [ $tries -lt 20 ]; do
    answer=$(timeout 5 nsenter -t "$1" -U -m --preserve-credentials "$bindir/psql" -XAtq -h /run/postgresql -U postgres -d postgres -c 'SELECT 1' 2>&1) && exit 0
    case $answer in *nsenter:*) answer=$(timeout 10 podman exec "$name" "$bindir/psql" -XAtq -h /run/postgresql -U postgres -d postgres -c 'SELECT 1' 2>&1) && exit 0 ;; esac
    tries=$((tries + 1)); sleep 0.05
  done
done
say "$name: the server did not answer within $seconds s: $answer"
say "HINT: a long crash recovery may need more; run the deploy again, or see runbooks/server-does-not-start.md"
exit 1
