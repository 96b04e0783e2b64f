# uses lib.sh
# Bring a tenant's server up, whatever a killed deploy left behind, and wait until it answers on its socket.
# Arguments: container, bindir, port in hex, seconds to wait, volume, the server's log, the unit's file, then the
# arguments of podman run. Where the account's systemd supervises, the unit's text comes on stdin and has the same
# arguments in it; else the unit's file and text are empty.
# Runs in the account's home.
set -u
name=$1 bindir=$2 port=$3 seconds=$4 volume=$5 log=$6 file=$7
shift 7
unit=$(cat)
service=pgberth-$name.service
quadlet=.config/containers/systemd/pgberth-$name.container
plain=.config/systemd/user/$service
wanted=.config/systemd/user/default.target.wants/$service

# First of all: podman would create a missing volume again, empty, and no server is started on another's data.
place=$(place_of_volume "$volume") || {
  say "$name: its volume $volume is gone"
  say "HINT: nothing was started, and no empty one was made in its place; runbooks/volume-is-gone.md"
  exit 1
}
why=$(foreign_data "$name" "$volume" "$place")
if [ -n "$why" ]; then
  say "$name: its volume $volume $why"
  say "HINT: nothing was started; runbooks/foreign-volume.md"
  exit 1
fi

# A unit that is failing and trying again would race with us; one of another supervisor, too.
if [ -e "$quadlet" ] || [ -e "$plain" ]; then had=yes; else had=; fi
if [ -n "$file$had" ]; then
  systemctl --user stop "$service" 2>/dev/null
  systemctl --user reset-failed "$service" 2>/dev/null
fi

# A port taken by a stranger makes podman leave a container that never started: look first.
published=$(for word in "$@"; do case $word in --publish=*:*:*) word=${word#*=}; printf '%s ' "${word%%:*}" ;; esac; done)
listener=$(listeners 127.0.0.1 "$published" | awk -v p="$port" '$1 == p { print $2, $3; exit }')
if [ -n "$listener" ]; then
  owner=$(process_of_socket "${listener#* }")
  say "$name: port 127.0.0.1:$(printf %d "0x$port") is taken by ${owner:-a process of uid ${listener% *}}"
  say "HINT: stop it, or give the tenant another port in the inventory: runbooks/port-already-taken.md"
  exit 1
fi

# Created again, never restarted: it may be of another spec, or of another supervisor. But nothing is removed that
# cannot be put back.
if podman container exists "$name"; then
  require_images "$name" "$@"
  podman rm --force --time 60 "$name" >/dev/null 2>&1
fi
kill_orphaned_monitor "$name"
# Two supervisors would fight over one container.
for other in "$quadlet" "$plain"; do [ "$other" = "$file" ] || rm -f "$other"; done
[ "$plain" = "$file" ] || rm -f "$wanted"
said=$(stat -c %s "$log" 2>/dev/null) || said=0
if [ -n "$file" ]; then
  # Written, and wanted at boot, before it is started: what runs comes back.
  printf '%s\n' "$unit" | write_file "$file" || exit 1
  [ "$plain" != "$file" ] || { mkdir -p "${wanted%/*}" && ln -sf "../$service" "$wanted"; } || exit 1
  if ! systemctl --user daemon-reload || ! systemctl --user start "$service" 2>/dev/null; then
    require_images "$name" "$@"
    say "$name: its unit $service did not start: $(systemctl --user show --property=Result --value "$service")"
    systemctl --user status --no-pager --lines=5 "$service" 2>&1 | tail -n 5 >&2
    say "HINT: no data was touched; runbooks/server-does-not-start.md"
    exit 1
  fi
else
  [ -z "$had" ] || systemctl --user daemon-reload 2>/dev/null
  run_container "$@" >/dev/null || { require_images "$name" "$@"; exit 1; }
fi

# The server says so itself in its pid file, for no process: many tenants that start together would otherwise spend the
# machine on asking. A file that a crash left says the same, so that it only tells when to ask.
ready() {
  for file in "$place"/*/data/postmaster.pid; do
    while read -r word _; do [ "$word" != ready ] || return 0; done < "$file"
  done 2>/dev/null
  return 1
}

deadline=$(($(date +%s) + seconds))
answer='its socket was not asked yet'
while [ "$(date +%s)" -lt "$deadline" ]; do
  # shellcheck disable=SC2046  # three words
  set -- $(podman container inspect --format '{{.State.Pid}} {{.State.Status}} {{.State.ExitCode}}' "$name" 2>/dev/null)
  if [ "${2:-absent}" != running ]; then
    if [ -n "$file" ]; then
      # systemd may be about to try again; when it has given up, so do we.
      case $(systemctl --user is-active "$service") in active|activating|deactivating) sleep 0.1; continue ;; esac
      set -- 0 gone "$(systemctl --user show --property=ExecMainStatus --value "$service")"
    fi
    say "$name: the server ended with exit code ${3:-?} before it answered; its last words:"
    # Lines of podman's own format: time, stream, F, what was said.
    tail -c "+$((said + 1))" "$log" 2>/dev/null | tail -n 5 | cut -d ' ' -f 4- >&2
    say "HINT: no data was touched; runbooks/server-does-not-start.md"
    exit 1
  fi
  tries=0
  # Twenty looks at the socket for each look at the container: inspect is the dear one.
  while [ $tries -lt 20 ]; do
    tries=$((tries + 1))
    ready || [ $tries -eq 20 ] || { sleep 0.05; continue; }
    answer=$(timeout 5 nsenter -t "$1" -U -m --preserve-credentials "$bindir/psql" -XAtq -h /run/postgresql -U postgres -d postgres -c 'SELECT 1' 2>&1) && exit 0
    case $answer in *nsenter:*) answer=$(timeout 10 podman exec "$name" "$bindir/psql" -XAtq -h /run/postgresql -U postgres -d postgres -c 'SELECT 1' 2>&1) && exit 0 ;; esac
    sleep 0.05
  done
done
say "$name: the server did not answer within $seconds s: $answer"
say "HINT: a long crash recovery may need more; run the deploy again, or see runbooks/server-does-not-start.md"
exit 1
